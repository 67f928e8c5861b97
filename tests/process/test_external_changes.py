"""Changes by others that the service finds: cancels, settings, odd rows, a clock that was set."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from queued.core import times
from tests.process.foreign_sql import sql
from tests.process.marked_sleep import MarkedSleep
from tests.process_figures import sleeps
from tests.service import WATCHED, Queue, Service, eventually, let_pass, locked

pytestmark = pytest.mark.both_engines

# The kernel has no inotify instance left.
UNWATCHED = """
import errno, os, sys
from queued.store import change_watcher

def refuse(**_):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

change_watcher.INotify = refuse
from queued.__main__ import main
sys.exit(main())
"""
# Each message that the dispatcher sends is a line of the log; no turn succeeds while a file exists.
OBSERVED = """
import json, os, sys
from queued.core.errors import StorageError
from queued.service.ipc.channel import Channel
from queued.service.dispatcher.turn import TurnRunner

send, turn = Channel.send, TurnRunner.turn

def logged(channel, *messages):
    for message in messages:
        line = json.dumps({"event": "message.sent", "kind": type(message).__name__})
        os.write(1, f"{line}\\n".encode())  # at once: lines of several processes must not mix
    send(channel, *messages)

def refused(*words, **named):
    if os.path.exists(os.environ["REFUSES"]):
        raise StorageError("no room")
    return turn(*words, **named)

Channel.send, TurnRunner.turn = logged, refused
from queued.__main__ import main
sys.exit(main())
"""


def test_a_worker_ends_a_run_whose_claim_was_taken_away(queue: Queue, sleeper: MarkedSleep) -> None:
    """At once, whatever its grace, because the job may run elsewhere. It takes the next one only
    then; the result of the lost run changes nothing.
    """
    service = queue.serve(workers=1, env=WATCHED)
    command = f"trap '' TERM; sleep {sleeper}; sleep {sleeper}"
    name = queue.add(f"[ $QUEUED_ATTEMPT = 2 ] || {{ {command}; }}", kill_grace=600)
    eventually(sleeper.living)
    worker, dispatcher = service.child(1), service.child(0)
    service.kill(dispatcher, signal.SIGSTOP)
    sql(queue, "UPDATE jobs SET state = 'pending', ready = true, token = NULL WHERE id = ?", name)
    service.kill(dispatcher)
    job = queue.wait(name)
    assert (job.label, job.runs) == ("completed", 2)
    assert sleeper.living() == []
    assert service.child(1) == worker, "the worker was not replaced"
    assert service.logged("job.claim_lost", job=name, attempt=1)


def test_a_wait_for_the_database_is_no_jump_of_the_clock(queue: Queue) -> None:
    """The turn that waited has an old time in hand; a retry must not come early for that."""
    service = queue.serve()
    failing = queue.add("false", backoff_base=300, backoff_max=300)
    due_ms = queue.wait(failing, "failed").next_run_at_ms
    trigger = queue.add("true", delay=0.7)
    with locked(queue.path):
        let_pass(2.5)  # a turn wants to begin since the trigger is due
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
SELECT j.state, a.outcome, a.error <> '' AND j.last_error = a.error, j.runs = a.number, count(*)
FROM jobs j JOIN attempts a ON a.job = j.seq WHERE j.priority = 9 GROUP BY 1, 2, 3, 4
"""
HOOKS = "SELECT count(*), state FROM jobs WHERE command = 'exit 0' GROUP BY state"


@pytest.mark.sqlite_only
def test_jobs_that_cannot_be_handed_over_are_dead_and_the_others_run(queue: Queue) -> None:
    """Their hooks run, too, although a part of the row cannot be read."""
    queue.configure("on_dead", "exit 0")
    odd, others = len(ODD_ROWS), 20
    queue.add_all(["true"] * odd, priority=9)
    for row, change in enumerate(ODD_ROWS.values(), 1):
        sql(queue, f"UPDATE jobs SET {change} WHERE seq = {row}")  # noqa: S608 - our own text
    queue.add_all(["true"] * others)
    service = queue.serve()
    queue.wait_all(others + odd)
    assert sql(queue, RECORDED) == f"('dead', 'spawn-error', 1, 1, {odd})\n"
    assert len(service.logged("job.dead", outcome="spawn-error")) == odd
    started = service.logged("child.started")
    assert len(started) == 3, "no process of the service was replaced"
    sql(queue, "UPDATE jobs SET state = 'pending', ready = 1, attempts = 0 WHERE priority = 9")
    eventually(lambda: len(service.logged("job.dead", outcome="spawn-error")) == 2 * odd, "again")
    queue.wait_all(others + 2 * odd)
    queue.wait(queue.add("true"))
    assert sql(queue, HOOKS) == f"({2 * odd}, 'completed')\n"
    assert service.stop() == 0


# What another program may store where the dispatcher reads; {odd} is no UTF-8.
UNREADABLE_ROWS = (
    "INSERT INTO queues (name, paused_at, paused_by) VALUES ({odd}, 0, {odd})",
    "INSERT INTO queues (name, concurrency, defaults) VALUES ('q', 1, json_object('note', {odd}))",
    "INSERT INTO lanes (queue, requires) VALUES ({odd}, {odd})",
    """INSERT INTO schedules (name, cron, zone, job, catch_up, overlap, next_at, created_at)
    VALUES ({odd}, '@daily', 'UTC', '{{"command": "true"}}', 'last', 'allow', 0, 0)""",
    "INSERT INTO signals (job, number, name) SELECT seq, runs, {odd} FROM jobs",
    "INSERT INTO signals (job, number, name) SELECT seq, runs, 'NONE' FROM jobs",
    "INSERT INTO signals (job, number, name) SELECT seq, runs, 'USR1' FROM jobs",
)


@pytest.mark.sqlite_only
def test_rows_that_cannot_be_read_are_refused_and_the_service_goes_on(queue: Queue) -> None:
    service = queue.serve()
    ready = queue.file("ready")
    name = queue.add(
        f"trap 'exit 7' USR1; touch {ready}; while :; do sleep 0.05; done", max_retries=1
    )
    eventually(ready.exists)
    for row in UNREADABLE_ROWS:
        sql(queue, row.format(odd="CAST(x'6fff' AS TEXT)"))
    assert queue.wait(name).label == "dead"
    assert queue.attempts(name)[0].exit_code == 7
    assert [line["signal"] for line in service.logged("job.signal_refused")] == ["o\ufffd", "NONE"]
    eventually(lambda: service.logged("schedule.refused"))
    queue.wait(queue.add("true"))
    assert "cannot be read" in queue.queuectl("enqueue", "--queue", "q", "true").stderr
    assert len(service.logged("child.started")) == 3, "no process of the service was replaced"
    assert len(service.logged("schedule.refused")) == 1, "it has moved on"
    assert service.stop() == 0


@pytest.mark.sqlite_only
def test_a_state_that_does_not_exist_is_not_counted(queue: Queue) -> None:
    sql(queue, "INSERT INTO counts VALUES ('default', 'wild', 1)")
    service = queue.serve()
    queue.wait(queue.add("true"))
    assert len(service.logged("child.started")) == 3, "no process of the service was replaced"
    assert json.loads(queue.queuectl("status", "--json").stdout)["completed"] == 1
    assert service.stop() == 0


@pytest.mark.sqlite_only
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
    sql(queue, "UPDATE jobs SET runs = 0, attempts = 0, state = 'pending', ready = true")
    eventually(lambda: len(service.logged("job.completed", outcome="exit")) == 2)
    assert [run.outcome for run in queue.attempts(name)] == ["exit"]
    assert service.stop() == 0


@pytest.mark.sqlite_only
def test_a_service_starts_without_the_stored_settings_that_are_wrong(queue: Queue) -> None:
    for key, value in (("workers", "'many'"), ("kill_grace", "CAST(x'ff' AS TEXT)")):
        sql(queue, f"INSERT INTO settings VALUES ('{key}', {value}, 0)")  # noqa: S608 - our own text
    queue.configure("default_timeout", "0.3")
    service = queue.serve()
    for key in ("workers", "kill_grace"):
        assert f"queued: config set: {key} takes " in service.log_path.read_text()
        assert service.logged("settings.refused")
        assert queue.queuectl("config", "unset", key).returncode == 0
    job = queue.wait(queue.add("sleep 60", max_retries=1))
    assert job.last_error == "timeout", "the good rows are in force"
    assert service.stop() == 0


@pytest.mark.sqlite_only
def test_a_busy_service_without_inotify_sees_a_cancel(queue: Queue) -> None:
    """Its turns must not put off the next look."""
    queue.configure("worker_poll_interval", "0.3")
    name = queue.add("sleep 60")
    queue.add_all(["sleep 0.05"] * 400)
    service = queue.spawn(workers=2, program=("-c", UNWATCHED)).ready()
    (missing,) = service.logged("database.watch_missing")
    assert missing["action"].endswith("raise fs.inotify.max_user_instances")
    queue.wait(name, "processing")
    queue.cancel(name)
    assert queue.wait(name).label == "cancelled"
    assert queue.count("pending") > 0, "the service was busy all the time"


def test_a_reader_does_not_wake_an_idle_dispatcher(queue: Queue) -> None:
    dispatcher = queue.serve().child(0)
    queue.wait(queue.add("true"))
    let_pass(0.5)  # what it had to do is done
    before = sleeps(dispatcher)
    for _ in range(30):
        with closing(queue.engine.open_store(None)) as store:
            store.status(now_ms=times.now_ms())
            (instance,) = store.instances()
        assert queue.engine.is_alive(instance)
    assert sleeps(dispatcher) - before < 10


@pytest.mark.sqlite_only
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
        let_pass(0.5)  # what the dispatcher had to do is done
        before = sleeps(dispatcher), sleeps(watching.pid)
        let_pass(3)
        after = sleeps(dispatcher), sleeps(watching.pid)
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
    queue.cancel(name)
    eventually(lambda: service.logged("message.sent", kind="Cancel"))
    for number in (11, 12, 13):
        queue.configure("backoff_max", str(number))
        eventually(lambda n=number: service.logged("settings.applied", backoff_max=n))  # type: ignore[misc]
    assert queue.job(name).label == "processing"
    assert len(service.logged("message.sent", kind="Cancel")) == 1
    assert queue.wait(name).label == "cancelled"


def test_settings_are_sent_to_the_supervisor_after_the_commit(queue: Queue) -> None:
    service = _observed(queue)
    sent = len(service.logged("message.sent", kind="Applied"))
    queue.file("refuses").touch()
    queue.configure("shutdown_grace", "7")
    eventually(lambda: service.logged("database.refused"))
    assert len(service.logged("message.sent", kind="Applied")) == sent
    queue.file("refuses").unlink()
    eventually(lambda: len(service.logged("message.sent", kind="Applied")) > sent)
