"""Waits for other processes: for a lock, for a stopped process that holds it, for an instance."""

import os
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.crash.kill_scenario import KillScenario
from tests.open_transaction import FORGETS
from tests.service import eventually, python_process


def test_a_database_that_others_hold_is_waited_for(scenario: KillScenario) -> None:
    service = scenario.serve().ready()
    scenario.add("job", "sleep 0.2")
    eventually(lambda: scenario.started("job"))
    holder = sqlite3.connect(scenario.queue.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    words = ["--db", scenario.queue.path, "enqueue", "--id", "late", "--", "true"]
    with subprocess.Popen(
        [sys.executable, "-m", "queued.ctl", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as late:
        eventually(lambda: service.logged("database.locked"))
        assert late.poll() is None, "queuectl waits, too"
        assert [job.id for job in scenario.queue.jobs()] == ["job"]
        holder.execute("COMMIT")
        holder.close()
        assert late.communicate(timeout=20)[0] == "late\n"
    scenario.asked.add("late")
    scenario.queue.wait("late")
    assert [line for line in scenario.broken_promises() if "late" not in line] == []
    assert scenario.queue.job("job").runs == 1
    assert len(service.logged("database.locked")) == 1


# Holds every lock of the WAL index that a reader may take, as a process does that was stopped then.
STANDS_STILL = """
import fcntl, sys, time
with open(sys.argv[1] + "-shm", "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 5, 123)
    print("held", flush=True)
    time.sleep(11)
    print("lets go", flush=True)
"""


def test_a_stopped_process_that_locks_the_wal_index_is_waited_for(scenario: KillScenario) -> None:
    """After 10 s SQLite calls it a protocol error."""
    service = scenario.serve().ready()
    scenario.add("before", "true")
    scenario.queue.wait("before")
    with python_process(STANDS_STILL, scenario.queue.path) as holder:
        assert holder.stdout is not None
        words = [sys.executable, "-m", "queued.ctl", "--db", scenario.queue.path, "wait", "before"]
        with subprocess.Popen(words) as wait:
            scenario.add("job", "true")
            assert wait.wait(20) == 0, "queuectl waits, too"
        assert select.select([holder.stdout], [], [], 0)[0], "the enqueue has waited for the lock"
    assert scenario.broken_promises() == []
    assert not service.logged("process.failed")
    assert not service.logged("child.died")


MIB = 1 << 20


def test_a_forgotten_transaction_delays_no_job_and_is_logged(
    scenario: KillScenario,
) -> None:
    """The WAL keeps all commits until that transaction has ended, and shrinks then."""
    service = scenario.serve().ready()
    wal = Path(f"{scenario.queue.path}-wal")
    with python_process(FORGETS, scenario.queue.path) as shell:
        for n in range(80):
            scenario.add(f"large{n}", f"head -c {MIB} /dev/zero")
        for name in sorted(scenario.acknowledged):
            scenario.queue.wait(name)
        assert wal.stat().st_size > 64 * MIB, "the transaction keeps the WAL"
        n = 0
        while not service.logged("database.wal_growing"):
            scenario.queue.wait(scenario.add(f"small{(n := n + 1)}", "sleep 0.1"))
        shell.communicate()
    for n in range(20):
        scenario.queue.wait(scenario.add(f"after{n}", "true"))
    assert wal.stat().st_size <= 16 * MIB
    assert scenario.broken_promises() == []
    (told,) = service.logged("database.wal_growing")
    assert told["level"] == "warning"
    assert told["wal_bytes"] > 64 * MIB


def test_a_stopped_instance_is_not_taken_for_dead(scenario: KillScenario) -> None:
    first = scenario.serve(workers=1).ready()
    scenario.add("job", "sleep 0.5")
    eventually(lambda: scenario.started("job"))
    asleep = [first.pid, *first.descendants()]
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    second = scenario.serve(workers=1).ready()
    for n in range(20):
        scenario.queue.wait(scenario.add(f"other{n}", "sleep 0.1"))
    assert scenario.queue.job("job").label == "processing"
    for pid in asleep:
        os.kill(pid, signal.SIGCONT)
    assert scenario.broken_promises() == []
    assert [run.outcome for run in scenario.queue.attempts("job")] == ["exit"]
    assert not second.logged("instance.rescued")
    assert not first.logged("child.died")
