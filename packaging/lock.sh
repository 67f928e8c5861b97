#!/bin/sh
# lock.sh TOOLS [OPTION...]: writes packaging/locked/*.txt from pyproject.toml: exact versions with the
# hashes of all their files. TOOLS is a virtual environment with pip-tools. Versions that still fit are
# kept unless an OPTION of pip-compile (--upgrade) says otherwise.
#
# One lock serves all supported versions of Python, because no dependency has a condition on one.
set -eu
tools=$1
shift
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$tools/bin/python" - "$work" <<'PYTHON'
import pathlib, sys, tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text("utf-8"))
extras = project["project"]["optional-dependencies"]
run = [*project["project"]["dependencies"], *extras["postgres"]]
dev = [*run, *extras["dev"]]
lists = {"build": project["build-system"]["requires"], "run": run, "dev": dev}
for name, requirements in lists.items():
    (pathlib.Path(sys.argv[1]) / f"{name}.in").write_text("\n".join(requirements) + "\n", "utf-8")
PYTHON

for name in build run dev; do
    "$tools/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@" \
        --output-file "packaging/locked/$name.txt" "$work/$name.in"
done
