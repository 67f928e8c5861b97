#!/bin/sh
# make-venv.sh DIRECTORY FINAL [REQUIREMENT...]: queued with all that it needs in a venv of its own.
#
# Made in DIRECTORY, to be used at FINAL, where its programs look for their Python. PYTHON is the
# interpreter that will be there, PIP the command that installs. VENV, if it is set, is one that was
# made for the same place before: a copy of it will do.
set -eu
umask 022
directory=$1 final=$2
shift 2
source=$(cd "$(dirname "$0")/.." && pwd)
: "${PYTHON:=/usr/bin/python3}" "${PIP:=python3 -m pip}"

if [ -n "${VENV:-}" ]; then
    rm -rf "$directory"
    mkdir -p "$(dirname "$directory")"
    cp -r "$VENV" "$directory"
    exit
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "$PYTHON is older than Python 3.11; say which with: make SYSTEM_PYTHON=/path/to/python3" >&2; exit 1; }

# From a copy: pip builds in the source tree, and a build that was left there may hold old files.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$source/pyproject.toml" "$source/README.md" "$source/queued" "$copy"

"$PYTHON" -m venv --without-pip --clear "$directory"
$PIP --python "$directory/bin/python" install --quiet --disable-pip-version-check \
    --no-warn-script-location --root-user-action ignore "$copy" "$@"

# Programs name their Python by its path.
sed -i "1s|^#!.*/bin/python[0-9.]*|#!$final/bin/python|" $(grep -lI '^#!.*python' "$directory"/bin/*)
sed -i '/^command = /d' "$directory/pyvenv.cfg"
rm -f "$directory"/bin/activate* "$directory"/bin/Activate*
chmod -R u=rwX,go=rX "$directory"
