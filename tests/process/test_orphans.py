"""Orphans of a dead worker are killed before its death is reported, even by a late supervisor."""

import os
import signal
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from tests.process.marked_sleep import MarkedSleep
from tests.service import ROOT, Queue, eventually

# A supervisor that has no time left, as after being stopped, and a worker that dies after its look.
LATE = """
import os, signal, sys
from queued.service.supervisor import process_manager
from queued.service.supervisor.orphan_reaper import OrphanReaper

process_manager._KILLING_S = 0
plain = OrphanReaper.scan

def scan(self, own):
    found = plain(self, own)
    if os.path.exists("MARK"):
        with open("MARK") as file:
            victim = int(file.read())
        os.remove("MARK")
        os.kill(victim, signal.SIGKILL)
        os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)
    return found

OrphanReaper.scan = scan
from queued.__main__ import main
sys.exit(main())
"""

# A supervisor in which a worker exits between the search for what another has left, and the kill.
MEANWHILE = """
import os, sys
from queued.service.supervisor.process_manager import ProcessManager

plain = ProcessManager._kill_orphans

def kill_orphans(self, ended):
    if os.path.exists("MARK"):
        with open("MARK") as file:
            leaver = int(file.read())
        os.rename("MARK", "GO")
        os.waitid(os.P_PID, leaver, os.WEXITED | os.WNOWAIT)
    return plain(self, ended)

ProcessManager._kill_orphans = kill_orphans
from queued.__main__ import main
sys.exit(main())
"""

FAMILY = """
import os, subprocess, sys
subprocess.Popen(["sleep", os.environ["LONG"]])
from queued.__main__ import main
sys.exit(main())
"""


def test_a_supervisor_without_time_looks_after_the_last_death(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    mark = queue.file("mark")
    service = queue.spawn(workers=2, program=("-c", LATE.replace("MARK", str(mark)))).ready()
    name = queue.add_once(f"sleep {sleeper}")
    eventually(sleeper.living)
    (line,) = eventually(lambda: service.logged("job.started", job=name))
    busy = int(line["worker"])
    (mark.parent / "made").write_text(str(service.child(busy)))
    os.rename(mark.parent / "made", mark)
    os.kill(service.child(3 - busy), signal.SIGKILL)
    assert queue.wait(name).label == "completed"
    assert sleeper.living() == []
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


def test_a_daemon_whose_worker_exits_during_the_cleanup_of_another_stays(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    go, mark = queue.file("go"), queue.file("mark")
    program = MEANWHILE.replace("MARK", str(mark)).replace("GO", str(go))
    service = queue.spawn(workers=2, program=("-c", program)).ready()
    wait = f"until [ -e {go} ]; do sleep 0.02; done"
    name = queue.add(f"setsid sleep {sleeper} >/dev/null 2>&1 & {wait}", leave_children=True)
    eventually(lambda: len(sleeper.living()) == 2, "the daemon and the command")
    leaver = service.worker_of(name)
    queue.file("pid").write_text(str(leaver))
    os.rename(queue.file("pid"), mark)
    (other,) = {service.child(1), service.child(2)} - {leaver}
    os.kill(other, signal.SIGKILL)
    eventually(lambda: service.logged("child.exited", child_pid=leaver))
    assert queue.job(name).label == "completed"
    assert len(sleeper.living()) == 1, "the daemon"


def test_children_from_before_the_service_began_are_left_alone(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    """As in `sh -c "nginx & exec queued"`, which is usual in containers."""
    service = queue.spawn(workers=1, program=("-c", FAMILY), env={"LONG": str(sleeper)}).ready()
    (before,) = sleeper.living()
    name = queue.add(f"(sleep {sleeper} &) ; kill -9 $PPID; sleep {sleeper}", max_retries=1)
    assert queue.wait(name).label == "dead"
    assert sleeper.living() == [before]
    assert service.stop() == 0
    os.kill(before, signal.SIGKILL)


def test_signals_of_a_terminal_reach_no_worker(queue: Queue) -> None:
    """A command between its fork and its setsid is in the session of its worker."""
    service = queue.serve(workers=2)
    for slot in (1, 2):
        assert os.getsid(service.child(slot)) == service.child(slot)


def test_what_another_process_writes_to_the_pipes_of_the_service_ends_no_worker(
    queue: Queue,
) -> None:
    """Workers must not take a write to the lifeline for the end of the supervisor."""
    service = queue.serve(workers=1)
    for path in Path(f"/proc/{service.pid}/fd").iterdir():
        if path.is_fifo():
            path.write_bytes(b"\0")
    assert queue.wait(queue.add("true")).label == "completed"
    assert not service.logged("worker.orphaned")


def test_a_child_that_dies_again_and_again_is_restarted_with_growing_delay(queue: Queue) -> None:
    service = queue.serve(workers=1)
    for _ in range(4):
        pid = service.child(1)
        service.kill(pid)
        service.replaced(1, pid)
    starts, deaths = (
        [datetime.fromisoformat(line["ts"]).timestamp() for line in service.logged(event, slot=1)]
        for event in ("child.started", "child.died")
    )
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps[3] >= 0.4 > starts[1] - deaths[0]


def test_a_service_with_the_variables_of_a_lost_run_rescues_it(queue: Queue) -> None:
    """at(1) keeps the variables of a job that calls it."""
    told = queue.directory / "told"
    first = queue.serve()
    queue.add(
        f"[ $QUEUED_ATTEMPT -gt 1 ] || {{ echo $QUEUED_INSTANCE >{told}; exec sleep 300; }}", id="a"
    )
    eventually(lambda: told.exists() and told.read_text())
    first.kill_instance()
    queue.serve(env={"QUEUED_INSTANCE": told.read_text().strip(), "QUEUED_JOB_ID": "a"})
    assert queue.wait("a").label == "completed"


def test_a_service_that_a_lost_run_has_started_rescues_it(queue: Queue) -> None:
    started, done = queue.directory / "started", queue.directory / "done"
    service = f"{sys.executable} -m queued --db {queue.path} --workers 1 --for 60s"
    first = queue.serve()
    queue.add(
        f"[ $QUEUED_ATTEMPT -gt 1 ] && {{ touch {done}; exit; }};"
        f" setsid -f {service} >{started} 2>&1; exec sleep 300",
        id="a",
        env={"PYTHONPATH": str(ROOT)},
        leave_children=True,
    )
    eventually(lambda: started.exists() and "service.ready" in started.read_text())
    first.kill_instance()
    assert queue.wait("a").label == "completed"
    assert queue.queuectl("worker", "stop").returncode == 0
