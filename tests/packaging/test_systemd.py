"""The service in a real systemd: start, status, reload, stop, the journal, and what it outlives."""

import json

import pytest

from tests.packaging.systemd_testbed import Unit
from tests.process import locked_pipe
from tests.service import eventually


def test_start_returns_when_a_worker_waits(unit: Unit) -> None:
    assert unit.show("ActiveState", "NRestarts") == ["active", "0"]
    assert unit.log("service.ready")
    assert unit.wait(unit.add("true"))["state"] == "completed"


def test_the_status_line_changes_as_the_queue_does(unit: Unit) -> None:
    unit.with_status("4 workers, 0 busy, 0 waiting")
    names = unit.add_all(["sleep 60"] * 9)
    unit.with_status("4 workers, 4 busy, 5 waiting")
    assert "4 workers, 4 busy, 5 waiting" in unit.systemctl("status").stdout
    unit.queuectl("cancel", *names)
    unit.with_status("4 workers, 0 busy, 0 waiting")


def test_each_line_in_the_journal_is_pure_json_with_a_priority(unit: Unit) -> None:
    unit.wait(unit.add("exit 3", max_retries=1))
    lines = unit.log()
    assert len(lines) > 5
    for line in lines:
        assert list(line)[:6] == ["ts", "level", "event", "instance", "role", "pid"]
        assert line["journal"]["_TRANSPORT"] == "journal"
        priority = {"info": "6", "warning": "4", "error": "3"}[line["level"]]
        assert line["journal"]["PRIORITY"] == priority
    (finished,) = unit.log("job.dead")
    assert (finished["queue"], finished["attempt"], finished["exit_code"]) == ("default", 1, 3)
    arguments = ("--priority=warning", "--unit=queued", "--output=cat")
    shown = unit.testbed.text("journalctl", *arguments).splitlines()
    assert [json.loads(line)["event"] for line in shown] == ["job.dead"]


def test_the_journal_is_searched_by_job_and_by_level(unit: Unit) -> None:
    dead = unit.add("echo no disk >&2; exit 3", max_retries=1, queue="nightly")
    unit.wait(dead)
    unit.wait(unit.add("true"))
    arguments = ("--output=json", "--output-fields=MESSAGE,QUEUED_QUEUE,QUEUED_STATE,PRIORITY")
    (entry,) = unit.testbed.text("journalctl", f"QUEUED_JOB={dead}", *arguments).splitlines()
    found = json.loads(entry)
    assert (found["QUEUED_QUEUE"], found["QUEUED_STATE"]) == ("nightly", "dead")
    assert found["PRIORITY"] == "3"
    assert json.loads(found["MESSAGE"])["error"] == "exit 3: no disk"
    errors = ("--priority=err", "--unit=queued", "--identifier=queued", "--output=cat")
    (line,) = unit.testbed.text("journalctl", *errors).splitlines()
    assert json.loads(line)["job"] == dead


def test_a_stop_drains_and_leaves_nothing(unit: Unit) -> None:
    name = unit.add("sleep 1; echo done")
    unit.wait(name, "processing")
    group = unit.show("ControlGroup")[0]
    unit.systemctl("stop")
    assert unit.show("ActiveState", "Result") == ["inactive", "success"]
    assert unit.job(name)["state"] == "completed"
    assert unit.log("service.draining")[0]["cause"] == "SIGTERM"
    found = unit.testbed.run(
        "sh", "-c", f"cat /sys/fs/cgroup/systemd{group}/cgroup.procs", check=False
    )
    assert found.stdout == ""


def test_a_drain_longer_than_the_units_timeout_is_not_cut_short(stopped: Unit) -> None:
    stopped.drop_in("TimeoutStopSec=1")
    stopped.systemctl("start")
    name = stopped.add("sleep 2.5")
    stopped.wait(name, "processing")
    stopped.systemctl("stop")
    assert stopped.show("Result") == ["success"]
    assert stopped.job(name)["state"] == "completed"


def test_the_end_of_the_grace_ends_jobs_and_does_not_count_them(stopped: Unit) -> None:
    stopped.testbed.write("/etc/queuectl.conf", "shutdown_grace = 0.2\nkill_grace = 0.2\n")
    stopped.systemctl("start")
    name = stopped.add("trap '' TERM; sleep 60 & wait; sleep 60")
    stopped.wait(name, "processing")
    stopped.systemctl("stop")
    assert stopped.show("Result") == ["success"]
    job = stopped.job(name)
    assert (job["state"], job["attempts"]) == ("pending", 0)


def test_a_reload_returns_while_a_long_job_runs_and_replaces_no_process(unit: Unit) -> None:
    name = unit.add("sleep 60")
    unit.wait(name, "processing")
    pids = [unit.child(slot) for slot in range(5)]
    unit.testbed.write("/etc/queuectl.conf", 'workers = 6\nlog_level = "debug"\n')
    unit.systemctl("reload")
    job = unit.job(name)
    assert (job["state"], job["runs"]) == ("processing", 1)
    assert unit.show("SubState", "NRestarts") == ["running", "0"]
    assert unit.log("reload.finished")
    unit.with_status("6 workers, 1 busy, 0 waiting")
    assert [unit.child(slot) for slot in range(5)] == pids
    unit.wait(unit.add("true"))
    assert unit.log("job.claimed")  # a debug line
    assert {line["pid"] for line in unit.log("job.started")} <= {
        *pids, *(unit.child(slot) for slot in (5, 6))
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("workers = 0\n", "workers takes a whole number from 1 to 1024, not 0"),
        ("workers = \n", "is not valid TOML"),
        ("wrokers = 5\n", "did you mean 'workers'"),
    ],
)
def test_a_bad_file_is_refused_and_nothing_changes(unit: Unit, text: str, reason: str) -> None:
    pids = [unit.child(slot) for slot in range(5)]
    unit.testbed.write("/etc/queuectl.conf", text)
    assert unit.systemctl("reload", check=False).returncode != 0
    (refused,) = unit.log("reload.refused")
    assert reason in refused["error"]
    assert refused["level"] == "error"
    assert [unit.child(slot) for slot in range(5)] == pids
    assert unit.show("ActiveState", "SubState") == ["active", "running"]
    unit.with_status("4 workers, 0 busy, 0 waiting")


def test_reload_of_a_service_that_ends_meanwhile_fails(unit: Unit) -> None:
    unit.signal("STOP", unit.child(0))
    reload = unit.testbed.start("systemctl", "reload", "queued")
    eventually(lambda: unit.log("reload.started"))
    unit.signal("KILL")
    assert reload.wait(100) != 0  # systemd 257 sees the end only when the watchdog's time is over
    assert reload.communicate()[0]


def test_a_stop_while_a_reload_waits_is_a_clean_end(unit: Unit) -> None:
    unit.signal("STOP", unit.child(0))
    unit.testbed.run("systemctl", "reload", "--no-block", unit.name)
    eventually(lambda: unit.log("reload.started"))
    unit.testbed.run("systemctl", "stop", "--no-block", unit.name)
    eventually(lambda: unit.log("service.draining"))
    unit.signal("CONT", unit.child(0))
    eventually(lambda: unit.show("ActiveState") == ["inactive"])
    assert unit.show("Result") == ["success"]


def test_an_error_that_a_restart_cannot_cure_is_not_retried(stopped: Unit) -> None:
    stopped.testbed.write("/etc/queuectl.conf", "workers = 0\n")
    assert stopped.systemctl("start", check=False).returncode != 0
    assert stopped.show("ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "78", "0"]
    text = stopped.testbed.text("journalctl", "--priority=err", "--unit=queued", "--output=cat")
    assert "queued: /etc/queuectl.conf: workers takes a whole number" in text


def test_worker_stop_is_a_clean_end(unit: Unit) -> None:
    unit.queuectl("worker", "stop")
    eventually(lambda: unit.show("ActiveState") == ["inactive"])
    assert unit.show("Result", "NRestarts") == ["success", "0"]


def test_a_killed_supervisor_is_started_again_and_its_job_runs_once_more(unit: Unit) -> None:
    name = unit.add("[ $QUEUED_ATTEMPT -gt 1 ] || sleep 60", backoff_max=0)
    unit.wait(name, "processing")
    unit.signal("KILL")
    eventually(lambda: unit.show("NRestarts", "SubState") == ["1", "running"])
    job = unit.wait(name)
    assert (job["state"], job["runs"]) == ("completed", 2)


# The watchdog


@pytest.fixture
def watched(stopped: Unit) -> Unit:
    """A service that systemd gives up on after three seconds of silence."""
    stopped.drop_in("WatchdogSec=3", "TimeoutAbortSec=1")
    stopped.systemctl("start")
    return stopped


@pytest.mark.parametrize("slot", [0, 1])
def test_a_child_that_hangs_is_replaced_before_systemd_loses_patience(
    watched: Unit, slot: int
) -> None:
    pid = watched.child(slot)
    watched.signal("STOP", pid)
    eventually(lambda: watched.child(slot) != pid)
    (hung,) = watched.log("child.hung")
    assert (hung["slot"], hung["child_pid"], hung["level"]) == (slot, pid, "error")
    assert watched.show("NRestarts", "ActiveState") == ["0", "active"]
    assert watched.wait(watched.add("true"))["state"] == "completed"


def test_a_supervisor_that_hangs_is_restarted_by_systemd(watched: Unit) -> None:
    watched.signal("STOP")
    eventually(lambda: watched.show("NRestarts", "SubState") == ["1", "running"])
    assert watched.wait(watched.add("true"))["state"] == "completed"


def test_a_job_that_makes_its_worker_hang_is_lost_alone(watched: Unit) -> None:
    beside = watched.add("until [ -e over ]; do sleep 0.1; done; rm over")
    watched.wait(beside, "processing")
    hung = watched.add(locked_pipe.command("/usr/bin/python3"), timeout=1, max_retries=1)
    assert watched.wait(hung)["state"] == "dead"
    assert watched.show("NRestarts", "ActiveState") == ["0", "active"]
    assert watched.wait(watched.add("touch over"))["state"] == "completed"
    job = watched.wait(beside)
    assert (job["state"], job["runs"]) == ("completed", 1)


LOCKED = """
import apsw, time
connection = apsw.Connection("/var/lib/queued/queue.db")
connection.execute("BEGIN IMMEDIATE")
time.sleep(4.5)
"""


def test_a_database_that_stays_locked_is_no_hang(watched: Unit) -> None:
    name = watched.add("sleep 3")
    watched.wait(name, "processing")
    pids = [watched.child(slot) for slot in range(5)]
    watched.testbed.run("/opt/queued/bin/python", "-c", LOCKED, user="queued")
    assert watched.wait(name)["state"] == "completed"
    assert watched.show("NRestarts", "ActiveState") == ["0", "active"]
    assert [watched.child(slot) for slot in range(5)] == pids
