#!/bin/sh
# install-locked.sh VENV LOCK ARGUMENT...: installs the packages of packaging/locked/LOCK.txt in VENV, then
# the project as `pip install ARGUMENT...` does. pip refuses a file whose hash is not in the lock; the
# project and packages without a wheel are built by the locked setuptools. INSTALLER is a Python with pip.
set -eu
venv=$1 lock=$2
shift 2
locked=$(cd "$(dirname "$0")" && pwd)/locked

install() {
    "${INSTALLER:-python3}" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check \
        --no-warn-script-location --root-user-action ignore "$@"
}

install --require-hashes -r "$locked/build.txt"
install --require-hashes --no-build-isolation --use-pep517 -r "$locked/$lock.txt"
install --no-build-isolation --no-deps "$@"
