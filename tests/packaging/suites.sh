#!/bin/bash
# suites.sh SUITE... - for each Debian suite: builds the package for its Python, checks it with its lintian, and
# runs the tests of the package and of the units under its systemd. The first failure ends it.
#
# Needs: root, debootstrap, what testbed.sh needs, and .venv. The systems of the suites are made once and kept in
# $SUITES_DIR (/var/tmp/queued-suites): remove one to make it again. The packages are in build/suites/SUITE.
set -euo pipefail
suites=${SUITES_DIR:-/var/tmp/queued-suites}
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
needed=(systemd-sysv dbus dbus-user-session libpam-systemd adduser man-db make procps lintian python3-venv)
# How pip reaches the package index on this machine; /etc/resolv.conf and the certificates are mounted.
mapfile -t environment < <(env | grep -E '^(PIP_|[a-z]+_proxy=|[A-Z]+_PROXY=)')
certificates=/etc/ssl/certs/ca-certificates.crt

# In a mount namespace, so that no mount is left.
make_system() { # SUITE DIRECTORY
    rm -rf --one-file-system "$2"
    unshare --mount --pid --fork --kill-child bash -euc '
        debootstrap --variant=minbase "$1" "$2" http://deb.debian.org/debian \
            $([ -e "/usr/share/debootstrap/scripts/$1" ] || echo sid)
        mount -t proc proc "$2/proc"
        printf "#!/bin/sh\nexit 101\n" >"$2/usr/sbin/policy-rc.d"
        chmod 755 "$2/usr/sbin/policy-rc.d"
        DEBIAN_FRONTEND=noninteractive chroot "$2" apt-get install --yes --no-install-recommends "${@:3}"
        touch "$2/.complete"' bash "$1" "$2" "${needed[@]}"
}

build() { # DIRECTORY
    rm -rf --one-file-system "$1"
    mkdir -p "$1"
    local binds=("$source:/opt/source:ro" "$1:/opt/made" /etc/resolv.conf::ro)
    [ ! -e "$certificates" ] || binds+=("$certificates::ro")
    TESTBED_NET=host TESTBED_OWNER=$$ "$here/testbed.sh" up "${binds[@]}"
    "$here/testbed.sh" exec env "${environment[@]}" sh -euc '
        python3 --version
        python3 -m venv /opt/installer
        INSTALLER=/opt/installer/bin/python /opt/source/packaging/debian/build.sh /opt/made
        lintian --version
        lintian --allow-root --fail-on error,warning /opt/made/queued_*.deb'
    "$here/testbed.sh" down
}

for suite in "$@"; do
    echo "== $suite"
    export TESTBED_ROOT=$suites/$suite TESTBED_DIR=$suites/$suite.testbed
    trap '"$here/testbed.sh" down' EXIT
    [ -e "$TESTBED_ROOT/.complete" ] || make_system "$suite" "$TESTBED_ROOT"
    build "$source/build/suites/$suite"
    QUEUED_TEST_PACKAGE=$(echo "$source/build/suites/$suite"/queued_*.deb) "$source/.venv/bin/pytest" -q \
        "$here/test_install.py" "$here/test_units.py" "$here/test_systemd.py" "$here/test_permissions.py"
done
