#!/bin/sh
# install-files.sh PREFIX [DESTDIR]: installs all files except the virtual environment. PREFIX is
# /usr/local for `make install` and /usr for the package. An existing conf file is kept.
set -eu
prefix=$1 root=${2:-}
source=$(cd "$(dirname "$0")/.." && pwd)
systemd=$source/packaging/systemd
lib=$root$prefix/lib
doc=$root$prefix/share/doc/queued

umask 022
install -d "$root$prefix/bin" "$root/etc"
ln -sf /opt/queued/bin/queued /opt/queued/bin/queuectl "$root$prefix/bin/"
install -D -m 644 -t "$lib/systemd/system" "$systemd/queued.service" "$systemd/queued@.service"
install -D -m 644 -t "$lib/systemd/user" "$systemd/user/queued.service"
install -D -m 644 "$systemd/queued.sysusers" "$lib/sysusers.d/queued.conf"
install -D -m 644 "$systemd/queued.tmpfiles" "$lib/tmpfiles.d/queued.conf"
install -D -m 644 -t "$doc" "$source/README.md" "$systemd/loosen.conf"
install -D -m 644 "$source/LICENSE" "$doc/copyright"
install -D -m 644 "$source/packaging/supervisor/queued.conf" "$doc/supervisor.conf"
[ -e "$root/etc/queuectl.conf" ] || install -m 644 "$source/etc/queuectl.conf" "$root/etc/queuectl.conf"
rm -f "$root$prefix"/share/man/man[158]/queue*
"$root/opt/queued/bin/python" -IB -m queued.pages.man_pages "$root$prefix/share/man"
gzip -9n "$root$prefix"/share/man/man[158]/queue*
