"""Orphans of a dead worker are killed before its death is reported, even by a late supervisor."""

import os
import signal
from datetime import datetime
from itertools import pairwise

from tests.process.marked_sleep import MarkedSleep
from tests.service import Queue, eventually

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
