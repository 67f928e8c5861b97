"""The Debian package and `make install`, each in a booted systemd that has never seen queued."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.systemd_testbed import ROOT, SystemdTestbed, Unit, missing_tool

pytestmark = pytest.mark.timeout(300)  # the first test also makes the virtual environment
CHECKOUT = "/root/a checkout"
CLEAN = "rm -rf /var/lib/queued /etc/queuectl.conf /opt/queued"
TOOLS = ("make", "man", "apt-get", "dpkg", "dpkg-deb", "deb-systemd-helper", "adduser", "deluser")
# The targets without their set-up of .venv, which the tests run in.
MAKE = ("make", "--no-print-directory", "--old-file=.venv/.stamp")
SOURCES = "Makefile README.md LICENSE pyproject.toml packaging etc queued"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[SystemdTestbed]:
    """A machine without queued; /opt/made is a directory of the test."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    missing = missing_tool() or ", ".join(absent)
    if missing:
        pytest.skip(f"needs {missing}")
    made = SystemdTestbed(tmp_path / "state", {tmp_path: "/opt/made", ROOT: "/opt/source"}, CLEAN)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def package(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, compressed in the quickest way that lintian accepts.

    QUEUED_TEST_PACKAGE names one that is there already.
    """
    if built := os.environ.get("QUEUED_TEST_PACKAGE"):
        return Path(built)
    directory = tmp_path_factory.mktemp("package")
    quick = {"DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}
    subprocess.run(
        [*MAKE, "deb", f"DIST={directory}"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "VENV": str(venv), **quick},
    )
    (made,) = directory.glob("queued_*.deb")
    return made


def escaped(testbed: SystemdTestbed) -> str:
    """Returns what `systemd-escape --template=queued@.service a-b` prints.

    systemd 255 to 261 starts no unit that has a StateDirectory with a backslash: there, another.
    """
    version = int(re.split(r"\W", testbed.text("systemctl", "--version"))[1])
    return "queued@b.service" if 255 <= version <= 261 else r"queued@a\x2db.service"


def serves(unit: Unit) -> str:
    """Checks that the service runs a job; returns its id."""
    assert unit.show("ActiveState", "SubState") == ["active", "running"]
    assert unit.testbed.text("systemctl", "is-enabled", "queued") == "enabled"
    unit.testbed.run("sh", "-c", "id dora || useradd --create-home --groups queued dora")
    name = unit.add("id -un", user="dora")
    assert unit.wait(name)["state"] == "completed"
    assert unit.queuectl("logs", name, user="dora") == "queued"
    return name


def pages(testbed: SystemdTestbed, prefix: str, zsh: str) -> list[str]:
    """The man pages and completions that are there, of those that are to be installed."""
    names = (
        *(
            "man/man8/queued.8.gz",
            "man/man1/queuectl-dlq-retry.1.gz",
            "man/man5/queuectl.conf.5.gz",
        ),
        *(f"bash-completion/completions/{program}" for program in ("queuectl", "queued")),
        f"zsh/{zsh}/_queuectl",
        *(f"fish/vendor_completions.d/{program}.fish" for program in ("queuectl", "queued")),
    )
    paths = [f"{prefix}/share/{name}" for name in names]
    script = 'for path; do [ ! -s "$path" ] || echo "$path"; done'
    found = testbed.text("sh", "-c", script, "sh", *paths).splitlines()
    assert found in ([], paths)
    return found


def names(testbed: SystemdTestbed) -> list[str]:
    """The files and directories of the system that are named after queued or queuectl."""
    places = "/etc /opt /run /usr /var/lib"
    return testbed.text("sh", "-c", f"find {places} -xdev -name '*queue[dc]*' | sort").splitlines()


def pids(testbed: SystemdTestbed) -> set[str]:
    """The pids of the main processes of both queues; 0 for a queue that does not run."""
    units = ("queued", "queued@reports")
    return {testbed.text("systemctl", "show", "--value", "-p", "MainPID", unit) for unit in units}


def active(testbed: SystemdTestbed) -> set[str]:
    """The units of queued that run."""
    words = ("--plain", "--no-legend", "--state=active", "queued*.service")
    text = testbed.text("systemctl", "list-units", *words)
    return {line.split()[0] for line in text.splitlines()}


def test_the_package_installs_upgrades_is_removed_and_purged(
    fresh: SystemdTestbed, package: Path, tmp_path: Path
) -> None:
    shutil.copy(package, tmp_path)
    install = ("dpkg", "--install", f"/opt/made/{package.name}")
    unit = Unit(fresh)
    fresh.run("mkdir", "/var/lib/queued-backup")  # of the administrator
    before_it = names(fresh)
    fresh.run("apt-get", "install", "--yes", f"/opt/made/{package.name}")
    name = serves(unit)
    failing = unit.add('test "$QUEUED_ATTEMPT" = 2', max_retries=1)
    assert unit.wait(failing)["state"] == "dead"
    unit.queuectl("retry", failing)
    unit.wait(failing, "completed")
    assert name in unit.queuectl("list", "--all")
    assert fresh.run("systemd-analyze", "verify", "queued.service").stderr == ""
    assert pages(fresh, "/usr", "vendor-completions")
    assert "\nQUEUECTL_DB" in fresh.text("man", "8", "queued").replace(" ", "")

    fresh.write("/etc/queuectl.conf", "workers = 3\n")
    running = unit.add("sleep 5; echo drained")
    unit.wait(running, "processing")
    second = escaped(fresh)
    fresh.run("systemctl", "start", second)
    before = active(fresh)
    fresh.run(*install)  # an upgrade
    assert active(fresh) == before == {"queued.service", second}
    fresh.run("systemctl", "stop", second)
    assert fresh.text("cat", "/etc/queuectl.conf") == "workers = 3"
    assert unit.job(running)["state"] == "completed"
    serves(unit)
    unit.with_status("3 workers, 0 busy, 0 waiting")
    fresh.run("systemctl", "stop", "queued")
    fresh.run(*install)
    assert pids(fresh) == {"0"}, "a service that was stopped by hand is not started"
    fresh.run("systemctl", "start", "queued")

    fresh.run("dpkg", "--remove", "queued")
    assert fresh.run("systemctl", "is-active", "queued", check=False).stdout.strip() == "inactive"
    assert fresh.run("test", "-e", "/opt/queued", check=False).returncode != 0
    assert fresh.text("cat", "/etc/queuectl.conf") == "workers = 3"
    fresh.run(*install)
    serves(unit)
    assert unit.job(name)["state"] == "completed"  # the queue was kept

    fresh.run("dpkg", "--purge", "queued")
    assert not pages(fresh, "/usr", "vendor-completions")
    assert names(fresh) == before_it
    assert fresh.run("getent", "passwd", "queued", check=False).returncode != 0
    assert fresh.run("systemctl", "cat", "queued", check=False).returncode != 0


def test_make_install_does_the_same(fresh: SystemdTestbed, venv: Path, tmp_path: Path) -> None:
    shutil.copytree(venv, tmp_path / "venv", symlinks=True)
    fresh.run("sh", "-c", f"mkdir '{CHECKOUT}'; cd /opt/source; cp -r {SOURCES} '{CHECKOUT}'")
    install = ("env", "VENV=/opt/made/venv", *MAKE, f"--directory={CHECKOUT}", "install")
    unit = Unit(fresh)
    fresh.run(*install)
    name = serves(unit)
    assert pages(fresh, "/usr/local", "site-functions")
    second = escaped(fresh)
    fresh.run("systemctl", "enable", "--now", "queued@reports", second)
    before = pids(fresh)
    running = unit.add("sleep 5; echo drained")
    unit.wait(running, "processing")
    fresh.run("sh", "-c", 'umask 077; exec "$@"', "sh", *install)  # an upgrade
    assert unit.job(running)["state"] == "completed"
    serves(unit)
    assert not before & pids(fresh), "all queues have the new code"
    assert active(fresh) == {"queued.service", "queued@reports.service", second}
    fresh.run(*MAKE, f"--directory={CHECKOUT}", "uninstall")
    assert not pages(fresh, "/usr/local", "site-functions")
    assert fresh.run("systemctl", "cat", "queued", check=False).returncode != 0
    assert pids(fresh) == {"0"}
    wants = "ls /etc/systemd/system/multi-user.target.wants"
    assert "queued" not in fresh.text("sh", "-c", wants)
    fresh.run(*install)
    assert unit.job(name)["state"] == "completed"


def test_lintian_finds_nothing_in_the_package(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian")
    check = ["lintian", "--allow-root", "--fail-on", "error,warning", str(package)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_install_and_uninstall_need_root(script: str) -> None:
    """The shell reads the script from its input: another user may not enter the checkout."""
    become = ["setpriv", "--reuid=65534"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*become, "sh", "-s", "x"],
        input=(ROOT / "packaging" / f"{script}.sh").read_text(),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"run it as root: sudo make {script}\n"


@pytest.mark.parametrize("way", ["package", "make", "supervisord"])
def test_the_readme_says_it_in_six_lines(way: str) -> None:
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"<!-- {way} -->\n```sh\n(.*?)```\n<!-- /{way} -->", text, re.DOTALL)
    assert found is not None
    assert len(found[1].splitlines()) == 6


def test_readme_and_package_make_the_same_user_and_directory() -> None:
    text = (ROOT / "README.md").read_text()
    sysusers = (ROOT / "packaging" / "systemd" / "queued.sysusers").read_text()
    home, shell = sysusers.split()[-2:]
    assert f"useradd --system --home-dir {home} --shell {shell} queued" in text
    assert f"install -d -m 2770 -o queued -g queued {home}" in text
