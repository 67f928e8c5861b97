#!/bin/sh
# build.sh [DIRECTORY]: builds queued_VERSION_ARCHITECTURE.deb for the system's Python (in dist/).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
out=${1:-$source/dist}
: "${PYTHON:=/usr/bin/python3}"
export PYTHON

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$source/queued/__init__.py")
architecture=$(dpkg --print-architecture)
python=$("$PYTHON" -c 'import sys; print("3.%d 3.%d" % (sys.version_info[1], sys.version_info[1] + 1))')
maintainer=${MAINTAINER:-the queued authors <root@localhost>}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

root=$stage/root
install -d "$root/opt" "$root/DEBIAN" "$out"
"$source/packaging/make-venv.sh" "$root/opt/queued" /opt/queued
# What apsw brings for its own tests and shell, and queued does not use.
find "$root/opt/queued" \( -path '*/apsw/tests' -o -path '*/apsw/sqlite_extra_binaries' -o -path '*/bin/apsw' \) \
    -prune -exec rm -rf {} +
find "$root/opt/queued" -name __pycache__ -prune -exec rm -rf {} +
find "$root/opt/queued" -name '*.so*' -exec chmod 644 {} +  # those of psycopg are executable
"$source/packaging/install-files.sh" /usr "$root"

install -D -m 644 "$here/lintian-overrides" "$root/usr/share/lintian/overrides/queued"
printf 'queued (%s) unstable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$(date -R)" | gzip -9n >"$root/usr/share/doc/queued/changelog.gz"
find "$root/usr/share" "$root/etc" "$root/usr/lib" -type d -exec chmod 755 {} +

install -m 644 "$here/conffiles" "$root/DEBIAN/"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
    -e "s/@PYTHON@/${python% *}/" -e "s/@NEXT_PYTHON@/${python#* }/" \
    -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" \
    -e "s|@MAINTAINER@|$maintainer|" \
    "$here/control" >"$root/DEBIAN/control"

dpkg-deb --root-owner-group --build "$root" "$out/queued_${version}_$architecture.deb"
