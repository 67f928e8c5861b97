"""Changes by others that the service finds: cancels, settings, odd rows, a clock that was set."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from queued.core import times
from queued.store import instance_lock
from queued.store.sqlite.client_store import SqliteStore
from tests.process.foreign_sql import sql
from tests.process.marked_sleep import MarkedSleep
from tests.service import WATCHED, Queue, Service, eventually

# The kernel has no inotify instance left.
UNWATCHED = """
import sys
from queued.store import change_watcher

def refuse(**_):
    raise OSError("too many open files")

change_watcher.INotify = refuse
from queued.__main__ import main
sys.exit(main())
"""
# Each message that the dispatcher sends is a line of the log; no turn succeeds while a file exists.
OBSERVED = """
import json, os, sys
from queued.core.errors import StorageError
from queued.service.ipc.channel import Channel
from queued.store.sqlite.dispatcher_store import SqliteLedger

send, promote = Channel.send, SqliteLedger.promote

def logged(channel, *messages):
    for message in messages:
        line = json.dumps({"event": "message.sent", "kind": type(message).__name__})
        os.write(1, f"{line}\\n".encode())  # at once: lines of several processes must not mix
    send(channel, *messages)

def refused(ledger, **named):
    if os.path.exists(os.environ["REFUSES"]):
        raise StorageError("no room")
    return promote(ledger, **named)

Channel.send, SqliteLedger.promote = logged, refused
from queued.__main__ import main
sys.exit(main())
"""


def test_a_worker_ends_a_run_whose_claim_was_taken_away(queue: Queue, sleeper: MarkedSleep) -> None:
    """And takes the next one only then; the result of the lost run changes nothing."""
    service = queue.serve(workers=1, env=WATCHED)
    command = f"trap '' TERM; sleep {sleeper}; sleep {sleeper}"
    name = queue.add(f"[ $QUEUED_ATTEMPT = 2 ] || {{ {command}; }}", kill_grace=0.3)
    eventually(sleeper.living)
    worker, dispatcher = service.child(1), service.child(0)
    service.kill(dispatcher, signal.SIGSTOP)
    sql(queue, "UPDATE jobs SET state = 'pending', ready = 1, token = NULL WHERE id = ?", name)
    service.kill(dispatcher)
    job = queue.wait(name)
    assert (job.label, job.runs) == ("completed", 2)
    assert sleeper.living() == []
    assert service.child(1) == worker, "it is the same one"
    assert service.logged("job.claim_lost", attempt=1)


def test_a_retry_moves_along_with_a_clock_that_was_set(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("exit 1", backoff_base=1000)
    given = queue.add("true", delay=5000)
    before = queue.wait(name, "failed").next_run_at_ms
    service.stop()
    sql(queue, "UPDATE clock SET offset_ms = offset_ms - 3600000")
    service = queue.serve()
    eventually(lambda: service.logged("clock.shifted"))
    assert abs(queue.job(name).next_run_at_ms - before - 3_600_000) < 1500
    scheduled = queue.job(given)
    assert scheduled.next_run_at_ms == scheduled.created_ms + 5_000_000, (
        "that is what the user said"
    )


def test_a_wait_for_the_database_is_no_jump_of_the_clock(queue: Queue) -> None:
    """The turn that waited has an old time in hand; a retry must not come early for that."""
    service = queue.serve()
    failing = queue.add("false", backoff_base=300, backoff_max=300)
    due_ms = queue.wait(failing, "failed").next_run_at_ms
    trigger = queue.add("true", delay=0.7)
    with closing(apsw.Connection(queue.path)) as other:
        other.set_busy_timeout(5000)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(2.5)  # a turn wants to begin since the trigger is due
        other.execute("ROLLBACK")
    assert queue.wait(trigger).label == "completed"
    assert service.logged("clock.shifted") == []
    assert queue.job(failing).next_run_at_ms == due_ms


ODD_ROWS = {
    "a command that is not UTF-8": "command = CAST(x'ff' AS TEXT)",
    "an id that is not UTF-8": "id = CAST(x'6fff' AS TEXT)",
    "a queue that is not UTF-8": "queue = CAST(x'ff' AS TEXT)",
    "options that are not UTF-8": "options = CAST(x'7b2261223a22ff227d' AS TEXT)",
    "an option of a wrong type": 'options = \'{"timeout": "soon"}\'',
    "a backoff of a wrong type": "options = '{\"backoff_base\": []}'",
    "an environment of a wrong type": "options = '{\"env\": 1000000000000000000000}'",
}

REFUSED_ROWS = {
    "options that are an array": "options = '[]'",
    "the most runs": "runs = 9223372036854775807",
    "a command of 300 kB": "command = 'true ' || printf('%.*c', 300000, 'x')",
    "a command with a NUL": "command = 'true' || char(0)",
}

RECORDED = """
SELECT j.state, a.outcome, a.error <> '' AND j.last_error = a.error, j.runs = a.number
FROM jobs j JOIN attempts a ON a.job = j.seq WHERE j.priority = 9
"""
HOOKS = "SELECT count(*), state FROM jobs WHERE command = 'exit 0' GROUP BY state"


@pytest.mark.parametrize("change", ODD_ROWS.values(), ids=ODD_ROWS)
def test_a_job_that_cannot_be_handed_over_is_dead_and_the_others_run(
    queue: Queue, change: str
) -> None:
    """Its hook runs, too, whatever of the row cannot be read."""
    _set(queue, "on_dead", "exit 0")
    queue.add("true", id="odd", priority=9)
    sql(queue, f"UPDATE jobs SET {change} WHERE priority = 9")  # noqa: S608 - our own text
    others = queue.add_all(["true"] * 20)
    service = queue.serve()
    queue.wait_all(len(others) + 1)
    assert sql(queue, RECORDED) == "('dead', 'spawn-error', 1, 1)\n"
    assert len(service.logged("job.dead", outcome="spawn-error")) == 1
    started = service.logged("child.started")
    assert len(started) == 3, "no process of the service was replaced"
    sql(queue, "UPDATE jobs SET state = 'pending', ready = 1, attempts = 0 WHERE priority = 9")
    eventually(lambda: len(service.logged("job.dead", outcome="spawn-error")) == 2, "again")
    queue.wait_all(len(others) + 2)
    queue.wait(queue.add("true"))
    assert sql(queue, HOOKS) == "(2, 'completed')\n"
    assert service.stop() == 0


@pytest.mark.parametrize("change", REFUSED_ROWS.values(), ids=REFUSED_ROWS)
def test_the_database_refuses_what_no_job_can_be(queue: Queue, change: str) -> None:
    queue.add("true")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        sql(queue, f"UPDATE jobs SET {change}")  # noqa: S608 - our own text
    assert b"CHECK constraint failed" in refused.value.stderr.encode()


def test_a_job_whose_runs_were_set_back_runs_again(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("true")
    queue.wait(name)
    sql(queue, "UPDATE jobs SET runs = 0, attempts = 0, state = 'pending', ready = 1")
    eventually(lambda: len(service.logged("job.completed", outcome="exit")) == 2)
    assert [run.outcome for run in queue.attempts(name)] == ["exit"]
    assert service.stop() == 0


def test_a_service_starts_without_the_stored_settings_that_are_wrong(queue: Queue) -> None:
    for key, value in (("workers", "'many'"), ("kill_grace", "CAST(x'ff' AS TEXT)")):
        sql(queue, f"INSERT INTO settings VALUES ('{key}', {value}, 0)")  # noqa: S608 - our own text
    _set(queue, "default_timeout", "0.3")
    service = queue.serve()
    for key in ("workers", "kill_grace"):
        assert f"queued: config set: {key} takes " in service.log_path.read_text()
        assert service.logged("settings.refused")
        assert queue.queuectl("config", "unset", key).returncode == 0
    job = queue.wait(queue.add("sleep 60", max_retries=1))
    assert job.last_error == "timeout", "the good rows are in force"
    assert service.stop() == 0


def test_a_setting_that_is_not_text_is_refused(queue: Queue) -> None:
    service = queue.serve()
    sql(queue, "INSERT INTO settings VALUES ('shutdown_grace', CAST(x'ff' AS TEXT), 0)")
    eventually(lambda: service.logged("settings.refused"))
    queue.wait(queue.add("true"))
    assert service.stop() == 0


def _set(queue: Queue, key: str, value: str) -> None:
    queue.store.config_set(key, value, now_ms=times.now_ms())


def test_a_busy_service_without_inotify_sees_a_cancel(queue: Queue) -> None:
    """Its turns must not put off the next look."""
    _set(queue, "worker_poll_interval", "0.3")
    name = queue.add("sleep 60")
    queue.add_all(["sleep 0.05"] * 400)
    service = queue.spawn(workers=2, program=("-c", UNWATCHED)).ready()
    assert service.logged("database.watch_missing")
    queue.wait(name, "processing")
    queue.store.cancel(queue.store.find(name), now_ms=times.now_ms())
    assert queue.wait(name, within_s=8).label == "cancelled"
    assert queue.count("pending") > 0, "it was busy all the time"


def _wakes(pid: int) -> int:
    """How often the process has slept."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
    assert found
    return int(found[1])


def test_a_reader_does_not_wake_an_idle_dispatcher(queue: Queue) -> None:
    service = queue.serve()
    dispatcher = service.child(0)
    queue.wait(queue.add("true"))
    end = time.monotonic() + 0.5
    eventually(lambda: time.monotonic() > end)  # what it had to do is done
    before = _wakes(dispatcher)
    for _ in range(30):
        with closing(SqliteStore(queue.path)) as store:
            store.status(now_ms=times.now_ms())
        assert instance_lock.is_alive(queue.path, service.instance)
    assert _wakes(dispatcher) - before < 10


def test_a_watched_status_sleeps_beside_an_idle_dispatcher(queue: Queue) -> None:
    dispatcher = queue.serve().child(0)
    ours, theirs = os.openpty()
    line = [sys.executable, "-m", "queued.ctl", "--db", queue.path, "status", "--watch"]
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        queue.wait(queue.add("true"))
        seen = ""
        while "1 in the last minute" not in seen:
            seen += os.read(ours, 65536).decode()
        end = time.monotonic() + 0.5
        eventually(lambda: time.monotonic() > end)  # what the dispatcher had to do is done
        before = _wakes(dispatcher), _wakes(watching.pid)
        end = time.monotonic() + 3
        eventually(lambda: time.monotonic() > end)
        after = _wakes(dispatcher), _wakes(watching.pid)
        watching.kill()
    os.close(ours)
    assert after[0] - before[0] < 10
    assert after[1] - before[1] < 15


def _observed(queue: Queue) -> Service:
    refuses = str(queue.file("refuses"))
    return queue.spawn(program=("-c", OBSERVED), env={"REFUSES": refuses}).ready()


def test_a_worker_is_sent_a_cancel_once(queue: Queue) -> None:
    service = _observed(queue)
    name = queue.add("trap '' TERM; while :; do sleep 0.1; done", kill_grace=3, max_retries=1)
    queue.wait(name, "processing")
    queue.store.cancel(queue.store.find(name), now_ms=times.now_ms())
    eventually(lambda: service.logged("message.sent", kind="Cancel"))
    for number in (11, 12, 13):
        _set(queue, "backoff_max", str(number))
        eventually(lambda n=number: service.logged("settings.applied", backoff_max=n))  # type: ignore[misc]
    assert queue.job(name).label == "processing"
    assert len(service.logged("message.sent", kind="Cancel")) == 1
    assert queue.wait(name).label == "cancelled"


def test_settings_are_sent_to_the_supervisor_after_the_commit(queue: Queue) -> None:
    service = _observed(queue)
    sent = len(service.logged("message.sent", kind="Applied"))
    queue.file("refuses").touch()
    _set(queue, "shutdown_grace", "7")
    eventually(lambda: service.logged("database.refused"))
    assert len(service.logged("message.sent", kind="Applied")) == sent
    queue.file("refuses").unlink()
    eventually(lambda: len(service.logged("message.sent", kind="Applied")) > sent)
