# `make demo` shows the queue at work; `make test` is what CI runs. Both need Python 3.11 to 3.14 with venv, and PyPI.

PYTHON ?= python3
SYSTEM_PYTHON ?= /usr/bin/python3
# Three workers for two cores, because many tests wait.
PYTEST ?= .venv/bin/pytest -n 3 --dist loadgroup
DIST ?= dist
BIN := .venv/bin

.PHONY: demo test lint types torture mutations soak bench peers manual architecture man console docs dist lock \
	deb debian install uninstall
.SILENT: .venv/.stamp build/bench/.stamp

demo: .venv/.stamp
	@PATH="$(CURDIR)/$(BIN):$$PATH" tests/demo/demo.sh

# With ENGINES=postgres: the tests that can run over PostgreSQL do so, and no others run.
test: lint types
	QUEUED_TEST_ENGINES='$(ENGINES)' $(PYTEST)

lint: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --cache-dir .import_linter_cache

types: .venv/.stamp
	$(BIN)/mypy

# Kills, stops and restarts a real service under load, then checks every promise. SEED, which it
# prints, repeats the same events; TORTURE_SECONDS=300 lengthens the run among the tests. With
# ENGINE=postgres the server is killed, too; with HOSTS=4 so many hosts are cut off as well; with
# PIDS=600 there are only so many pids.
torture: .venv/.stamp
	$(BIN)/python -m tests.torture --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) \
		--engine $(or $(ENGINE),sqlite) --hosts $(or $(HOSTS),0) --pids $(or $(PIDS),0)

# Breaks the product in ways that matter for many hosts; each time a test must fail.
mutations: .venv/.stamp
	$(BIN)/python -m tests.hosts.mutations

# Runs a million jobs and watches the memory of each process; ten minutes or more.
soak: .venv/.stamp
	$(BIN)/python -m tests.torture --soak $(or $(JOBS),1000000)

# Takes about ten minutes and uses the Python of the packages. Its files, a large database among
# them, are in BENCH_DIR (/var/tmp). Programs for comparison that are not installed are reported as
# absent; `make peers` installs them.
bench: build/bench/.stamp
	build/bench/bin/python -m tests.bench

peers:
	apt-get install --yes task-spooler nq parallel

manual: .venv/.stamp
	$(BIN)/python -m queued.ctl.generate_manual > docs/queuectl.md
	$(BIN)/python -m queued.pages.log_events > docs/log-events.md

# Runs the console blocks in docs/ and writes what they print where a page says otherwise.
console: .venv/.stamp
	$(BIN)/python -m tests.docs.console

# The pages in docs/ as a site, in build/site. A link that leads nowhere is an error.
docs: .venv/.stamp
	$(BIN)/mkdocs build --strict --clean

# An sdist and a wheel in DIST, checked as an index would.
dist: .venv/.stamp
	rm -f '$(DIST)'/queued-*.tar.gz '$(DIST)'/queued-*.whl
	$(BIN)/python -m build --outdir '$(DIST)'
	$(BIN)/twine check --strict '$(DIST)'/queued-*.tar.gz '$(DIST)'/queued-*.whl
	$(BIN)/check-wheel-contents '$(DIST)'/queued-*.whl

# The table of files in docs/architecture.md, from the docstrings.
architecture: .venv/.stamp
	$(BIN)/python -m tests.unit.test_architecture

# The man pages, in build/man.
man: .venv/.stamp
	$(BIN)/python -m queued.pages.man_pages build/man

# The locked dependencies, after a change of those in pyproject.toml; with UPGRADE=--upgrade all of
# them at their newest versions.
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check pip-tools
	packaging/lock.sh build/lock $(UPGRADE)

# DIST/queued_VERSION_ARCHITECTURE.deb, for the Python of this system.
deb: .venv/.stamp
	INSTALLER='$(CURDIR)/$(BIN)/python' PYTHON=$(SYSTEM_PYTHON) packaging/debian/build.sh '$(DIST)'

# The package for each of SUITES, built, checked by lintian and tested in a system of that suite, as root.
debian: .venv/.stamp
	tests/packaging/suites.sh $(or $(SUITES),bookworm trixie sid)

# The same as `make deb` without a package, in /opt/queued and /usr/local, with a running service.
install: .venv/.stamp
	INSTALLER='$(CURDIR)/$(BIN)/python' PYTHON=$(SYSTEM_PYTHON) packaging/make-venv.sh build/venv /opt/queued
	packaging/install.sh build/venv

uninstall:
	packaging/uninstall.sh

build/bench/.stamp: .venv/.stamp $(shell find queued -name '*.py' -o -name '*.sql')
	INSTALLER='$(CURDIR)/$(BIN)/python' PYTHON=$(SYSTEM_PYTHON) packaging/make-venv.sh \
		build/bench '$(CURDIR)/build/bench' huey litequeue procrastinate pgqueuer
	touch $@

# Made again only when the dependencies may have changed. In the mode "compat" a path makes the project
# importable; in the default mode code of setuptools does, which doubles the start of each Python.
.venv/.stamp: pyproject.toml $(wildcard packaging/locked/*.txt)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'queued needs Python 3.11 or newer; choose another: make PYTHON=/path/to/python3' >&2; exit 1; }
	echo 'setting up .venv (once)'
	$(PYTHON) -m venv --clear .venv
	INSTALLER=$(BIN)/python packaging/install-locked.sh .venv dev --editable . --config-settings editable_mode=compat
	touch $@
