"""The checker sees it when the product is broken on purpose: a table of defects, each found.

test_power_cut.py has one more defect: less syncing than is needed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queued.service.linux import procfs
from queued.store import instance_lock
from tests.crash.kill_scenario import KillScenario
from tests.process import headless
from tests.process.foreign_sql import sql
from tests.service import Service, altered, eventually, run_python
from tests.torture.checker import check
from tests.torture.log_evidence import outliving_processes

USER = 40_000 + os.getpid() % 10_000  # owns the queue of a service without the rights of root
Play = Callable[[KillScenario, str], list[str]]


def _serve(scenario: KillScenario, *names: str, workers: int = 2) -> Service:
    return scenario.serve(*altered(*names), workers=workers)


def _looked(service: Service) -> None:
    """Waits until it has looked around: it describes the queue, then does a turn, then again."""
    service.ready()
    for times in (1, 2):
        service.kill(service.pid, signal.SIGUSR1)
        eventually(lambda: len(service.logged("queue.described")) >= times)  # noqa: B023


def fails_twice(scenario: KillScenario, defect: str) -> list[str]:
    """A job that fails once, and waits before it runs again."""
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ]", backoff_base=1, backoff_max=1.5)
    _serve(scenario, defect)
    return scenario.broken_promises()


def leaves_a_child(scenario: KillScenario, defect: str) -> list[str]:
    """A job that ends before a process that it has started."""
    scenario.add("job", "setsid sleep 30 & sleep 0.1")
    _serve(scenario, defect)
    scenario.queue.wait("job")
    alive = outliving_processes(scenario.traces)  # before a stop of the service ends it
    return [*(f"left_behind: {one}" for one in alive), *scenario.broken_promises()]


def loses_its_worker(scenario: KillScenario, defect: str) -> list[str]:
    """A job whose worker is killed, while a child of the job lives on."""
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ] || { sleep 30 & kill -9 $PPID; sleep 30; }")
    _serve(scenario, defect)
    return scenario.broken_promises()


def killed_whole(scenario: KillScenario, defect: str) -> list[str]:
    """A service that is killed with all its processes but a command."""
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 30")
    service = scenario.serve()
    eventually(lambda: scenario.started("job"))
    service.kill_instance()
    _looked(_serve(scenario, defect))
    return check(scenario.known()) if defect == "no_rescue" else scenario.broken_promises()


def loses_its_worker_headless(scenario: KillScenario, defect: str) -> list[str]:
    """A job whose worker is killed, and whose own first thread has ended."""
    pid_file = scenario.queue.directory.parent / "pid"
    scenario.add("job", f"[ $QUEUED_ATTEMPT -gt 1 ] || {headless.command(pid_file)}")
    service = _serve(scenario, defect, workers=1)
    eventually(lambda: headless.pid_of(pid_file))
    service.kill(service.child(1))
    return scenario.broken_promises()


def killed_with_daemon(scenario: KillScenario, defect: str) -> list[str]:
    """A service that is killed with all but a daemon that has no environment and no parent."""
    mark = scenario.queue.directory.parent / "daemon"
    daemon = f"env -i setsid sh -c 'touch {mark}; exec sleep 30' >/dev/null 2>&1"
    scenario.add("job", f"[ $QUEUED_ATTEMPT -gt 1 ] || {{ ({daemon} &) ; sleep 30; }}")
    service = scenario.serve()
    eventually(mark.exists)
    service.kill_instance()
    _looked(_serve(scenario, defect))
    return scenario.broken_promises()


def killed_with_hidden_daemon(scenario: KillScenario, defect: str) -> list[str]:
    """A service that is killed with all but a daemon whose environment it may not read."""
    ready = scenario.queue.directory / "daemon"
    hide = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"
    python = f'{sys.executable} -S -c "{hide}; print(1, flush=True); time.sleep(30)"'
    daemon = f"(setsid {python} >{ready} 2>&1 &)"
    words = altered(defect)
    if os.geteuid() == 0:  # root may read it
        for path in (scenario.traces, scenario.queue.directory):
            os.chown(path, USER, USER)
        words = ("-m", "tests.process.as_another_user", str(USER), *words[1:])
    service = scenario.serve(*words).ready()
    scenario.add("job", f"[ $QUEUED_ATTEMPT -gt 1 ] || {{ {daemon} ; sleep 30; }}")
    eventually(lambda: ready.exists() and ready.read_text())
    service.kill_instance()
    _looked(scenario.serve(*words))
    return scenario.broken_promises()


def unacknowledged(scenario: KillScenario, defect: str) -> list[str]:
    """A dispatcher that is killed between the commit of a result and its acknowledgement."""
    fields: dict[str, Any] = {"defer_on": [75], "defer_delay": 1, "backoff_base": 1}
    scenario.add("job", "case $QUEUED_ATTEMPT in 1) exit 75;; 2) exit 1;; esac", **fields)
    first = scenario.serve()
    eventually(lambda: [run for run in scenario.queue.attempts("job") if run.ended_ms])
    first.stop()
    point = f"kill_point=result: recorded, not acknowledged|one|{scenario.mark}"
    scenario.serve(*altered(defect, point), workers=1)
    scenario.wait_until_killed()
    return scenario.broken_promises()


def killed_when_told(scenario: KillScenario, defect: str) -> list[str]:
    """A dispatcher that is killed when it tells workers of what it has not committed yet."""
    scenario.add("job", "sleep 0.3")
    env = {"ALTERED_MARK": str(scenario.mark)}
    scenario.queue.spawn(workers=1, program=altered(defect), env=env)
    return scenario.broken_promises()


def prints_and_waits(scenario: KillScenario, defect: str) -> list[str]:
    """A dispatcher that is killed before it has stored output that was sent to it."""
    scenario.add("job", "echo begun; sleep 1; echo over", prints=b"begun\nover\n")
    point = f"kill_point=run: its output stored, not committed|one|{scenario.mark}"
    scenario.serve(*altered(defect, point))
    return scenario.broken_promises()


def enqueued_and_killed(scenario: KillScenario, defect: str) -> list[str]:
    """A queuectl that is killed once it has said the id."""
    program = altered(defect, program="queuectl")
    done = run_python(*program, "--db", scenario.queue.path, "enqueue", "--id", "job", "--", "true")
    scenario.asked = {"job"}
    scenario.acknowledged = set(done.stdout.split())
    _serve(scenario)
    known = scenario.known()
    return [line for line in check(known) if not line.startswith("unfinished")]


def two_services(scenario: KillScenario, defect: str) -> list[str]:
    """A second service starts while the first is at work."""
    over = scenario.queue.directory.parent / "over"
    scenario.add("job", f"while [ ! -e {over} ]; do sleep 0.05; done")
    scenario.serve()
    eventually(lambda: scenario.started("job"))
    _looked(_serve(scenario, defect))
    over.touch()
    broken_promises = scenario.broken_promises()
    lost = [run for run in scenario.queue.attempts("job") if run.exit_code != 0]
    return [*broken_promises, *("a run was lost and no process died" for _ in lost)]


def meets_a_foreign_row(scenario: KillScenario, defect: str) -> list[str]:
    """A row of an instance whose id leads to a file elsewhere."""
    precious = scenario.queue.directory.parent / "precious.lock"
    precious.touch()
    (scenario.queue.directory / "queue.db.x").mkdir()
    row = (
        "INSERT INTO instances (id, host, pid, version, started_at)"
        " VALUES ('x/../../precious', 'h', 1, 'v', 1)"
    )
    sql(scenario.queue, row)
    _looked(_serve(scenario, defect))
    return [] if precious.exists() else ["a row removed a file"]


def stopped_without_its_lock_file(scenario: KillScenario, defect: str) -> list[str]:
    """A second service starts while the first is stopped, and its lock file is deleted."""
    over = scenario.queue.directory.parent / "over"
    scenario.add("job", f"while [ ! -e {over} ]; do sleep 0.05; done")
    first = scenario.serve()
    eventually(lambda: scenario.started("job"))
    first.pause()
    os.unlink(instance_lock.path_of(scenario.queue.path, first.instance))
    _looked(_serve(scenario, defect))
    ended = [run for run in scenario.queue.attempts("job") if run.ended_ms]
    over.touch()
    return ["a run was lost and no process died" for _ in ended]


def _queuectl(scenario: KillScenario, defect: str, path: str) -> int:
    program = altered(defect, program="queuectl")
    return run_python(*program, "--db", path, "enqueue", "--", "true").returncode


def taken_out_of_wal_mode(scenario: KillScenario, defect: str) -> list[str]:
    """Another program changes the journal mode before a job is enqueued."""
    path = str(scenario.queue.directory / "other.db")
    assert _queuectl(scenario, "", path) == 0
    mode = f"from sqlite3 import connect; connect({path!r}).execute('PRAGMA journal_mode=DELETE')"
    run_python("-c", mode)
    assert _queuectl(scenario, defect, path) == 0
    return [] if Path(path).read_bytes()[18] == 2 else ["acknowledged without WAL"]


def has_two_names(scenario: KillScenario, defect: str) -> list[str]:
    """A hard link to the database is given as another database."""
    path = str(scenario.queue.directory / "other.db")
    assert _queuectl(scenario, "", path) == 0
    os.link(path, f"{path}.link")
    return ["two WALs of one file"] if _queuectl(scenario, defect, f"{path}.link") == 0 else []


def moved_away(scenario: KillScenario, defect: str) -> list[str]:
    """The database is moved away under a service."""
    service = _serve(scenario, defect)
    _looked(service)
    os.rename(scenario.queue.path, f"{scenario.queue.path}.moved")
    described = len(service.logged("queue.described"))

    def ended_or_went_on() -> bool:
        if service.process.poll() is not None:
            return True
        service.kill(service.pid, signal.SIGUSR1)
        return len(service.logged("queue.described")) > described + 1

    eventually(ended_or_went_on)
    return [] if service.process.poll() is not None else ["serves a file without a name"]


def logs_to_nobody(scenario: KillScenario, defect: str) -> list[str]:
    """The log goes to a FIFO that is open for reading, and that nothing reads."""
    fifo = scenario.queue.directory / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    service = scenario.serve(*altered(f"log_to={fifo}", defect))
    for number in range(40):
        scenario.add(f"job{number}", "true")

    def waits_for_the_reader() -> bool:
        pids = [service.pid, *service.descendants()]
        return any(b"pipe_write" in procfs.read(f"/proc/{pid}/wchan") for pid in pids)

    eventually(lambda: scenario.ended() == 40 or waits_for_the_reader())
    found = ["a process waits for the reader of the log"] if waits_for_the_reader() else []
    os.close(reader)  # a write is refused from now on
    return found


def stopped_on_a_full_disk(scenario: KillScenario, defect: str) -> list[str]:
    """The disk becomes full while a command runs, and then the service is stopped."""
    full, over = (scenario.queue.directory.parent / name for name in ("full", "over"))
    record_s = "constant=queued.service.supervisor.supervisor._RECORD_S=1.0"
    service = scenario.serve(*altered(f"full={full}", record_s, defect))
    scenario.add("job", f"until [ -e {over} ]; do sleep 0.05; done")
    eventually(lambda: scenario.started("job"))
    full.touch()
    over.touch()
    service.process.terminate()
    try:
        service.process.wait(30)
    except subprocess.TimeoutExpired:
        return ["a stop does not end"]
    finally:
        full.unlink()
    return []


TABLE: list[tuple[str, Play, str]] = [
    ("no_fence", unacknowledged, "miscounted"),
    ("no_rescue", killed_whole, "unfinished"),
    ("rescue_without_kill", killed_whole, "overlapping"),
    ("alone_not_group", leaves_a_child, "left_behind"),
    ("orphans_stay", loses_its_worker, "overlapping"),
    ("zombies_are_dead", loses_its_worker_headless, "overlapping"),
    ("only_environment", killed_with_daemon, "overlapping"),
    ("only_environment", killed_with_hidden_daemon, "overlapping"),
    ("told_before_commit", killed_when_told, "untold"),
    ("early_retry", fails_twice, "early"),
    ("uncounted_loss", loses_its_worker, "miscounted"),
    ("output_once", prints_and_waits, "unprinted"),
    ("printed_before_commit", enqueued_and_killed, "lost"),
    ("all_instances_are_dead", two_services, "a run was lost and no process died"),
    ("uncounted_moves", fails_twice, "miscounted_labels"),
    ("any_lock_path", meets_a_foreign_row, "a row removed a file"),
    ("deleted_lock_is_death", stopped_without_its_lock_file, "a run was lost and no process died"),
    ("any_journal_mode", taken_out_of_wal_mode, "acknowledged without WAL"),
    ("removed_files_unnoticed", moved_away, "serves a file without a name"),
    ("log_waits_for_its_reader", logs_to_nobody, "a process waits for the reader of the log"),
    ("stop_waits_for_the_database", stopped_on_a_full_disk, "a stop does not end"),
    ("two_names_accepted", has_two_names, "two WALs of one file"),
]


@pytest.mark.parametrize(("defect", "play", "rule"), TABLE)
def test_a_defect_is_found(scenario: KillScenario, defect: str, play: Play, rule: str) -> None:
    broken_promises = play(scenario, defect)
    print(broken_promises)
    assert rule in {line.split(":")[0] for line in broken_promises}


@pytest.mark.parametrize("play", dict.fromkeys(play for _, play, _ in TABLE))
def test_nothing_is_found_without_it(scenario: KillScenario, play: Play, tmp_path: Path) -> None:
    assert play(scenario, "") == []
