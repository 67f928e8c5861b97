# `make demo` shows the queue at work; `make test` is what CI runs. Both need only Python 3.11.

PYTHON ?= python3
SYSTEM_PYTHON ?= /usr/bin/python3
PYTEST ?= .venv/bin/pytest -n 2
DIST ?= dist
BIN := .venv/bin

.PHONY: demo test lint types torture soak bench peers manual man deb install uninstall
.SILENT: .venv/.stamp build/bench/.stamp

demo: .venv/.stamp
	@PATH="$(CURDIR)/$(BIN):$$PATH" tests/demo/demo.sh

test: lint types
	$(PYTEST)

lint: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --cache-dir .import_linter_cache

types: .venv/.stamp
	$(BIN)/mypy

# Kills, stops and restarts a real service under load, then checks every promise. The same pressure
# again with the SEED that it says; as long a one among the tests with TORTURE_SECONDS=300.
torture: .venv/.stamp
	$(BIN)/python -m tests.torture --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

# A million jobs in one go, with the memory of each process meanwhile; ten minutes or more.
soak: .venv/.stamp
	$(BIN)/python -m tests.torture --soak $(or $(JOBS),1000000)

# About ten minutes, with the Python that packages use. Its files are in BENCH_DIR (/var/tmp), a
# large database among them. Of what it compares with, a program that is not there is reported as
# absent; `make peers` installs it.
bench: build/bench/.stamp
	build/bench/bin/python -m tests.bench

peers:
	apt-get install --yes task-spooler nq parallel

manual: .venv/.stamp
	$(BIN)/python -m queued.ctl.manual > docs/queuectl.md

man: .venv/.stamp
	$(BIN)/python -m queued.pages.man_pages build/man

# DIST/queued_VERSION_ARCHITECTURE.deb, for this machine's own Python.
deb: .venv/.stamp
	INSTALLER='$(CURDIR)/$(BIN)/python' PYTHON=$(SYSTEM_PYTHON) packaging/debian/build.sh '$(DIST)'

# The same without a package: /opt/queued, /usr/local and a running service.
install: .venv/.stamp
	INSTALLER='$(CURDIR)/$(BIN)/python' PYTHON=$(SYSTEM_PYTHON) packaging/make-venv.sh build/venv /opt/queued
	packaging/install.sh build/venv

uninstall:
	packaging/uninstall.sh

build/bench/.stamp: .venv/.stamp $(shell find queued -name '*.py' -o -name '*.sql')
	INSTALLER='$(CURDIR)/$(BIN)/python' PYTHON=$(SYSTEM_PYTHON) packaging/make-venv.sh \
		build/bench '$(CURDIR)/build/bench' huey litequeue
	touch $@

# Made again only when the dependencies may have changed.
.venv/.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'queued needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3' >&2; exit 1; }
	echo 'setting up .venv (once)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
