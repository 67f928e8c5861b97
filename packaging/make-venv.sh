#!/bin/sh
# make-venv.sh DIRECTORY FINAL [REQUIREMENT...]: a virtual environment with queued and its dependencies.
#
# It is made in DIRECTORY and will be used at FINAL, where its programs look for their Python. PYTHON
# is the interpreter that it uses there, INSTALLER a Python with pip. Dependencies are the locked ones,
# and REQUIREMENTs are installed beside them. If VENV is set, it names an
# environment that was made for the same FINAL before, and DIRECTORY becomes a copy of that.
set -eu
umask 022
directory=$1 final=$2
shift 2
source=$(cd "$(dirname "$0")/.." && pwd)
: "${PYTHON:=/usr/bin/python3}" "${INSTALLER:=python3}"
export INSTALLER
pip() { "$INSTALLER" -m pip --disable-pip-version-check --python "$directory/bin/python" "$@"; }

if [ -n "${VENV:-}" ]; then
    rm -rf "$directory"
    mkdir -p "$(dirname "$directory")"
    cp -r "$VENV" "$directory"
    exit
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "$PYTHON is older than Python 3.11; choose another: make SYSTEM_PYTHON=/path/to/python3" >&2; exit 1; }

# From a copy, because pip builds in the source tree, and an earlier build there may hold old files.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$source/pyproject.toml" "$source/README.md" "$source/LICENSE" "$source/queued" "$copy"

"$PYTHON" -m venv --without-pip --clear "$directory"
"$source/packaging/install-locked.sh" "$directory" run "$copy"
pip uninstall --quiet --yes --root-user-action ignore setuptools
[ $# = 0 ] || pip install --quiet --root-user-action ignore "$@"

# A program names its Python by path in its first line, or in three lines of shell if the path has a
# space or is long.
if [ "$(cd "$directory" && pwd)" != "$final" ]; then
    grep -lIZ '^#!' "$directory"/bin/* | xargs -0 sed -i \
        -e "1{/^#!\/bin\/sh\$/{N;N;s|.*\n'''exec' .*|#!$final/bin/python|}" \
        -e "s|^#!.*/bin/python[0-9.]*|#!$final/bin/python|}"
fi
sed -i '/^command = /d' "$directory/pyvenv.cfg"
rm -f "$directory"/bin/activate* "$directory"/bin/Activate* "$directory"/.gitignore
chmod -R u=rwX,go=rX "$directory"
