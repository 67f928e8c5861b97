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
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

root=$stage/root
install -d "$root/opt" "$root/DEBIAN" "$out"
"$source/packaging/make-venv.sh" "$root/opt/queued" /opt/queued
find "$root/opt/queued" -name __pycache__ -prune -exec rm -rf {} +
"$source/packaging/install-files.sh" /usr "$root"
find "$root/usr/share" "$root/etc" "$root/usr/lib" -type d -exec chmod 755 {} +

install -m 644 "$here/conffiles" "$root/DEBIAN/"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
    -e "s/@PYTHON@/${python% *}/" -e "s/@NEXT_PYTHON@/${python#* }/" \
    -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" \
    -e "s|@MAINTAINER@|${MAINTAINER:-the queued authors <root@localhost>}|" \
    "$here/control" >"$root/DEBIAN/control"

dpkg-deb --root-owner-group --build "$root" "$out/queued_${version}_$architecture.deb"
