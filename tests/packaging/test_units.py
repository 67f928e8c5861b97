"""The units as they are shipped, in a real systemd: sound, contained, explained, and delegated."""

import json
import re

import pytest

from tests.packaging.systemd_testbed import ROOT, SystemdTestbed, Unit
from tests.service import eventually


def test_the_units_are_sound(testbed: SystemdTestbed) -> None:
    done = testbed.run("systemd-analyze", "verify", "queued.service", "queued@reports.service")
    assert (done.stdout, done.stderr) == ("", "")


def test_the_service_is_well_contained(unit: Unit) -> None:
    text = unit.testbed.text("systemd-analyze", "security", "--no-pager", "queued.service")
    found = re.search(r"Overall exposure level for queued.service: ([\d.]+)", text)
    assert found is not None
    assert float(found[1]) <= 3.0


JOBS = {
    "a command": {"command": "echo hello"},
    "a pipe": {"command": "seq 1000 | sort -n | tail -1"},
    "a directory of its own": {"command": "pwd", "cwd": "/usr"},
    "a umask": {"command": "umask", "umask": "077"},
    "a niceness": {"command": "nice", "nice": 10},
    "limits": {"command": "ulimit -n", "limits": {"files": 64}},
    "an environment": {"command": 'test "$COLOUR" = red', "env": {"COLOUR": "red"}},
    "files in its directory": {"command": "echo x > made && rm made"},
    "temporary files": {"command": "mktemp -p /tmp && mktemp -p /var/tmp"},
    "processes in the background": {"command": "sleep 0.1 & wait"},
    "a compiler at run time": {
        "command": "/opt/queued/bin/python -c 'import ctypes, mmap;"
        " mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)'"
    },
    "the network": {
        "command": "/opt/queued/bin/python -c 'import socket;"
        ' s = socket.create_server(("127.0.0.1", 0)); socket.create_connection(s.getsockname())\''
    },
    "what tells of the system": {"command": "free && nproc && ps && df / && id && uname -a"},
    "files of others that all may read": {"command": "cat /etc/passwd"},
    "archives with owners and modes": {
        "command": "cp -p /etc/passwd p && tar -cf t.tar p && tar -xf t.tar && rm p t.tar"
    },
}


def test_jobs_of_all_kinds_run_in_the_unit(unit: Unit) -> None:
    names = {
        kind: unit.add(fields.pop("command"), **fields, max_retries=1)
        for kind, fields in json.loads(json.dumps(JOBS)).items()
    }
    failed = {
        kind: unit.job(name)["last_error"]
        for kind, name in names.items()
        if unit.wait(name)["state"] != "completed"
    }
    assert failed == {}


def test_the_unit_forbids_access_that_a_drop_in_can_allow(unit: Unit) -> None:
    command = "echo x > /srv/made"
    unit.testbed.run("chmod", "777", "/srv")
    job = unit.wait(unit.add(command, max_retries=1))
    assert "Read-only file system" in job["last_error"]
    loosened = unit.testbed.text("cat", "/usr/local/share/doc/queued/loosen.conf")
    assert "#ReadWritePaths=/srv/reports" in loosened
    unit.drop_in("ReadWritePaths=/srv")
    unit.systemctl("restart")
    assert unit.wait(unit.add(command, max_retries=1))["state"] == "completed"


def test_the_drop_in_of_the_readme_allows_what_it_says(stopped: Unit) -> None:
    """Without it the same job fails, and so does one in a home directory."""
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.search(r"```ini\n\[Service\]\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    stopped.testbed.run("install", "-d", "-o", "queued", "/srv/reports")
    stopped.testbed.run("install", "-d", "-m", "755", "/home/open")
    jobs: list[dict[str, str]] = [
        {"command": "touch /srv/reports/made"},
        {"command": "ls -d /home/open"},
        {"command": "true", "cwd": "/home/open"},
    ]
    for lines, state in (([], "dead"), (shown[1].splitlines(), "completed")):
        stopped.drop_in(*lines)
        stopped.systemctl("restart")
        names = [stopped.add(max_retries=1, **job) for job in jobs]
        assert [stopped.wait(name)["state"] for name in names] == [state] * 3


def test_every_line_that_loosens_is_one_that_systemd_knows(stopped: Unit) -> None:
    text = stopped.testbed.text("cat", "/usr/local/share/doc/queued/loosen.conf")
    lines = re.findall(r"^#(\w+=.*)$", text, re.MULTILINE)
    assert len(lines) > 20
    stopped.testbed.run("mkdir", "-p", "/srv/reports")
    stopped.drop_in(*lines)
    done = stopped.testbed.run("systemd-analyze", "verify", "queued.service")
    assert (done.stdout, done.stderr) == ("", "")
    stopped.systemctl("start")
    assert stopped.wait(stopped.add("true"))["state"] == "completed"


def test_a_unit_writes_the_metrics_for_node_exporter(unit: Unit) -> None:
    testbed, directory = unit.testbed, "/var/lib/prometheus/node-exporter"
    testbed.run("install", "-d", "-g", "queued", "-m", "775", directory)
    unit.wait(unit.add("true"))
    testbed.run("systemctl", "start", "queued-metrics.service")
    assert testbed.text("ls", directory) == "queued.prom"
    text = testbed.text("cat", f"{directory}/queued.prom", user="nobody")
    assert 'queued_runs_total{queue="default",result="completed"} 1.0' in text
    units = ("queued-metrics.service", "queued-metrics.timer")
    assert testbed.run("systemd-analyze", "verify", *units).stderr == ""


def test_a_second_queue_is_made_from_the_template(stopped: Unit) -> None:
    stopped.systemctl("start")
    second = Unit(stopped.testbed, "queued@reports.service", "/var/lib/queued-reports/queue.db")
    second.systemctl("start")
    assert second.wait(second.add("true"))["state"] == "completed"
    assert second.show("StatusText") == ["4 workers, 0 busy, 0 waiting"]
    second.systemctl("reload")
    assert len(second.log("reload.finished")) == 1
    assert json.loads(stopped.queuectl("list", "--json")) == []


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("queued.service", "/var/lib/queued"),
        ("queued@reports.service", "/var/lib/queued-reports"),
        (r"queued@a\x2db.service", r"/var/lib/queued-a\x2db"),
    ],
)
def test_a_job_that_deletes_all_in_its_directory_leaves_the_queue(
    stopped: Unit, name: str, place: str
) -> None:
    unit = Unit(stopped.testbed, name, f"{place}/queue.db")
    if unit.systemctl("start", check="\\" not in name).returncode:  # as with systemd 257
        assert "Failed to deserialize" in unit.testbed.text("journalctl", "--unit", name)
        pytest.skip("this systemd starts no unit whose directories have a backslash in their names")
    job = unit.add('pwd; cd; pwd; touch made; rm -rf "$PWD"/* ./*; ls -A')
    assert unit.wait(job)["state"] == "completed"
    assert unit.queuectl("logs", job).split() == [f"{place}/jobs"] * 2
    assert unit.wait(unit.add("touch made"))["state"] == "completed"
    assert unit.testbed.text("stat", "--format=%U:%G %a", f"{place}/jobs") == "queued:queued 2770"


def _directives(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_template_is_the_unit_with_another_place(testbed: SystemdTestbed) -> None:
    of_one, of_many = (
        _directives(testbed.text("cat", f"/opt/source/packaging/systemd/{name}"))
        for name in ("queued.service", "queued@.service")
    )
    wanted = {"Description", "StateDirectory", "Environment", "RuntimeDirectory", "ReadWritePaths"}
    different = {a.split("=")[0] for a, b in zip(of_one, of_many, strict=True) if a != b}
    assert different == wanted | {"WorkingDirectory"}


@pytest.mark.parametrize("name", ["queued.service", "user/queued.service"])
def test_every_directive_is_explained_where_it_stands(name: str) -> None:
    text = (ROOT / "packaging" / "systemd" / name).read_text()
    for line, before in zip(text.splitlines()[1:], text.splitlines(), strict=False):
        if line and line[0].isupper():  # a directive
            explained = bool(before) and not before.startswith("[")
            assert explained or before in {"[Unit]", "[Install]"}, line


# Control groups


def groups(unit: Unit) -> list[str]:
    """The control groups below the unit's."""
    find = f"find /sys/fs/cgroup /sys/fs/cgroup/unified -maxdepth 5 -path '*/{unit.name}/*' -type d"
    found = unit.testbed.run("sh", "-c", f"{find} -printf '%f\\n' | sort -u")
    return found.stdout.split()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("queued.service", "queued/queue.db"),
        ("queued@reports.service", "queued-reports/queue.db"),
    ],
)
def test_each_run_has_a_control_group_of_its_own(stopped: Unit, name: str, place: str) -> None:
    if not stopped.testbed.text("sh", "-c", "grep -w cgroup2 /proc/mounts || true"):
        pytest.skip("needs cgroup v2")
    unit = Unit(stopped.testbed, name, f"/var/lib/{place}")
    unit.systemctl("start")
    job = unit.add("grep ^0:: /proc/self/cgroup; sleep 60")
    unit.wait(job, "processing")
    instance = unit.log("service.started")[0]["instance"]
    eventually(lambda: set(groups(unit)) == {f"{instance}.{job}.1", "queued"})
    assert "sleep 60" in unit.systemctl("status").stdout
    unit.queuectl("cancel", job)
    unit.wait(job, "cancelled")
    assert unit.queuectl("logs", job).endswith(f"{name}/{instance}.{job}.1")
    assert groups(unit) == ["queued"]
    unit.systemctl("reload")
    assert unit.wait(unit.add("true"))["state"] == "completed"
    elsewhere = unit.add("mkdir /sys/fs/cgroup/other /sys/fs/cgroup/*/other", max_retries=1)
    assert unit.wait(elsewhere)["state"] == "dead"
    unit.systemctl("stop")
    assert unit.show("Result") == ["success"]
    assert groups(unit) == []
