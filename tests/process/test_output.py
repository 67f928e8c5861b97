"""The output of commands is kept in order and within its limit, and seen while they run."""

import signal
import time
from functools import partial

import pytest

from tests.process.foreign_sql import sql
from tests.process.marked_sleep import MarkedSleep
from tests.process_figures import cpu_s, memory_kib
from tests.service import WATCHED, Queue, eventually, let_pass

MIB = 1 << 20


def test_both_streams_together_are_in_order(served: Queue) -> None:
    name = served.add("for i in $(seq 1000); do echo out $i; echo err $i >&2; done")
    served.wait(name)
    expected = "".join(f"out {i}\nerr {i}\n" for i in range(1, 1001))
    assert served.output(name).decode() == expected
    assert served.output(name, stream=2) == b""


@pytest.mark.both_engines
def test_split_keeps_them_apart(served: Queue) -> None:
    name = served.add("for i in $(seq 1000); do echo $i; echo $i >&2; done", split=True)
    served.wait(name)
    expected = "".join(f"{i}\n" for i in range(1, 1001)).encode()
    assert served.output(name) == expected
    assert served.output(name, stream=2) == expected
    (attempt,) = served.attempts(name)
    assert (attempt.stdout_bytes, attempt.stderr_bytes) == (len(expected), len(expected))


@pytest.mark.both_engines
def test_head_and_tail_are_kept_and_the_rest_is_counted(served: Queue) -> None:
    name = served.add("seq -w 1 2000", output_limit=1000)
    served.wait(name)
    kept, printed = served.output(name), "".join(f"{i:04}\n" for i in range(1, 2001)).encode()
    assert 875 <= len(kept) <= 1000
    assert kept.startswith(printed[:500])
    assert kept.endswith(printed[-375:])
    (attempt,) = served.attempts(name)
    assert attempt.stdout_bytes == len(printed)
    shown = served.queuectl("logs", name)
    assert f"{len(printed) - len(kept)} bytes" in shown.stderr


def test_the_setting_is_for_jobs_that_do_not_say(queue: Queue) -> None:
    queue.configure("output_limit", "100")
    queue.serve()
    short, whole, none = (
        queue.add("seq 1000", **fields)
        for fields in ({}, {"output_limit": MIB}, {"output_limit": 0})
    )
    for name in (short, whole, none):
        queue.wait(name)
    sizes = [len(queue.output(name)) for name in (short, whole, none)]
    assert 0 < sizes[0] <= 100
    assert sizes[1:] == [3893, 0]


def test_each_of_two_streams_has_the_whole_limit(served: Queue) -> None:
    name = served.add("seq 9999; seq 9999 >&2", split=True, output_limit=10_000)
    served.wait(name)
    for stream in (1, 2):
        assert 8_000 < len(served.output(name, stream=stream)) <= 10_000


@pytest.mark.both_engines
def test_all_bytes_pass(served: Queue) -> None:
    every = bytes(range(256)) * 1000
    path = served.file("every")
    path.write_bytes(every)
    name = served.add(f"cat {path}")
    served.wait(name)
    assert served.output(name) == every


def test_the_last_output_of_a_command_is_kept(served: Queue) -> None:
    """A full pipe may be unread when the command ends."""
    names = served.add_all(["head -c 65536 /dev/zero | tr '\\0' x; printf end"] * 20)
    for name in names:
        served.wait(name)
        assert served.output(name).endswith(b"xend"), len(served.output(name))


@pytest.mark.both_engines
def test_output_is_seen_while_the_job_runs(served: Queue, sleeper: MarkedSleep) -> None:
    name = served.add(f"echo first; sleep 0.7; echo second; sleep {sleeper}")
    try:
        for shown in (b"first\n", b"first\nsecond\n"):
            eventually(lambda shown=shown: served.output(name) == shown)  # type: ignore[misc]
        assert served.job(name).label == "processing"
    finally:
        served.cancel(name)
        served.wait(name)


def test_two_streams_are_both_seen_while_one_floods(served: Queue) -> None:
    name = served.add("echo here >&2; exec yes", split=True, output_limit=8 * MIB, timeout=20)
    try:
        eventually(lambda: served.output(name, stream=2) == b"here\n")
        assert served.job(name).label == "processing"
    finally:
        served.cancel(name)
        served.wait(name)


def grown(queue: Queue, name: str, seen: int) -> bool:
    return len(queue.output(name)) > seen


@pytest.mark.both_engines
def test_output_survives_a_dispatcher_that_dies_again_and_again(queue: Queue) -> None:
    service = queue.serve(workers=1)
    name = queue.add("for i in $(seq 60); do echo line $i; sleep 0.05; done; echo end")
    for _ in range(4):
        eventually(partial(grown, queue, name, len(queue.output(name))))
        pid = service.child(0)
        service.kill(pid)
        service.replaced(0, pid)
    assert queue.wait(name).runs == 1
    expected = "".join(f"line {i}\n" for i in range(1, 61)) + "end\n"
    assert queue.output(name).decode() == expected


def test_a_worker_does_not_spin_while_the_dispatcher_is_busy(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    """More output waits than may be unacknowledged, and no dispatcher reads it."""
    service = queue.serve(workers=1, env=WATCHED)
    flood = f"head -c 5M /dev/zero; echo done > {queue.file('done')}; sleep {sleeper}"
    name = queue.add(flood, output_limit=8 * MIB)
    dispatcher, worker = service.child(0), service.child(1)
    eventually(lambda: service.logged("job.started", job=name))  # a claim is sent after its commit
    service.kill(dispatcher, signal.SIGSTOP)
    try:
        eventually(queue.file("done").exists)
        before = cpu_s(worker)
        let_pass(1.2)
        assert cpu_s(worker) - before < 0.3
    finally:
        service.kill(dispatcher, signal.SIGCONT)


def test_a_command_waits_while_its_output_cannot_be_taken(queue: Queue) -> None:
    """The memory of a worker is bounded, however much output is to be kept."""
    service = queue.serve(workers=1, env=WATCHED)
    dispatcher, worker = service.child(0), service.child(1)
    go, done = queue.file("go"), queue.file("done")
    wait = f"until [ -e {go} ]; do sleep 0.01; done"
    name = queue.add(f"{wait}; head -c 64M /dev/zero; touch {done}", output_limit=128 * MIB)
    eventually(lambda: service.logged("job.started", job=name))  # a claim is sent after its commit
    service.kill(dispatcher, signal.SIGSTOP)
    go.touch()
    end = time.monotonic() + 2
    eventually(lambda: done.exists() or time.monotonic() > end)
    assert not done.exists()
    assert memory_kib(worker, "Rss") < 64 * 1024
    service.kill(dispatcher, signal.SIGCONT)
    assert queue.wait(name, within_s=60).label == "completed"
    assert len(queue.output(name)) == 64 * MIB


def size(queue: Queue) -> int:
    """Returns the size of the database with its side files."""
    return sum(path.stat().st_size for path in queue.directory.glob("queue.db*"))


def test_a_flood_costs_constant_memory_and_disk(queue: Queue) -> None:
    service = queue.serve(workers=2)
    queue.wait(queue.add("seq 1000"))
    children = [service.child(slot) for slot in (0, 1, 2)]
    before = {pid: memory_kib(pid, "Rss") for pid in children}
    flood = queue.add("head -c 1G /dev/zero; echo the end")
    eventually(lambda: queue.job(flood).runs == 1)
    neighbours = 0
    while queue.job(flood).label == "processing":  # other jobs run meanwhile
        name = queue.add("true")
        queue.wait(name)
        neighbours += 1
    assert queue.job(flood).label == "completed"
    assert neighbours >= 5
    (attempt,) = queue.attempts(flood)
    assert attempt.stdout_bytes == 1024 * MIB + len(b"the end\n")
    kept = queue.output(flood)
    assert len(kept) <= MIB
    assert kept.endswith(bytes(1000) + b"the end\n")
    for pid in children:
        assert memory_kib(pid, "Rss") - before[pid] < 16 * 1024
    assert size(queue) < 16 * MIB


@pytest.mark.sqlite_only
def test_output_can_be_read_with_any_sqlite(served: Queue) -> None:
    name = served.add("echo seen by all")
    served.wait(name)
    query = "SELECT stream, CAST(content AS TEXT) FROM output JOIN jobs ON seq = job WHERE id = ?"
    assert sql(served, query, name) == "(1, 'seen by all\\n')\n"
