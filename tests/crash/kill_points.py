"""Starts our programs with a kill point: the first process that reaches it is killed there.

    python -m tests.crash.kill_points POINT VICTIM MARK queued|queuectl ARGUMENT...

The product has no code for it: functions are wrapped before the program begins. VICTIM is `one`
(the process that reaches the point), `all` (supervisor, dispatcher and workers), `pause` (that
process does nothing from then on) or `stop` (the service is told to stop at once). MARK is a file
that is made when the point fires; a point fires only if MARK does not exist.
"""

import importlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from queued.service.dispatcher import claims
from queued.service.linux import procfs
from queued.service.worker import prefetch

_first: list[int] = []  # the pid of the supervisor


class Point(NamedTuple):
    """A place before or after a call of a function, if `when` is true of its arguments."""

    owner: str
    name: str
    when: Callable[[tuple[Any, ...], Any], bool] = lambda _arguments, _result: True
    after: bool = False


def _claimed(arguments: tuple[Any, ...], _result: object) -> bool:
    return bool(arguments[1].claimed)


def _finished(arguments: tuple[Any, ...], _result: object) -> bool:
    return bool(arguments[1].finished)


def _settled(_arguments: tuple[Any, ...], result: Any) -> bool:
    return any(state is not None for state in result)


def _true(_arguments: tuple[Any, ...], result: object) -> bool:
    return bool(result)


def _result_arrived(arguments: tuple[Any, ...], _result: object) -> bool:
    return any(type(message).__name__ == "Result" for _, message in arguments[1].inbox)


def _one_more(arguments: tuple[Any, ...], result: Any) -> bool:
    """Whether a worker got a second claim."""
    ledger, instance, _workers, _token = arguments
    held = Counter(claim.worker for claim in ledger.running_claims(instance))
    return any(held[claim.worker] > 1 for claim in result)


def _one_more_made(arguments: tuple[Any, ...], _result: object) -> bool:
    claims = arguments[1].claims
    return any(len(claims.of(worker)) > 1 for worker in claims.busy())


def _in_hand(arguments: tuple[Any, ...], _result: object) -> bool:
    return bool(arguments[0]._prefetch.keys())


def _worker(arguments: tuple[Any, ...], _result: object) -> bool:
    return bool(arguments[1].child.slot > 0)


def _workers_live(_arguments: tuple[Any, ...], _result: object) -> bool:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return len(file.read().split()) > 1


def _run_lost(arguments: tuple[Any, ...], _result: object) -> bool:
    return bool(arguments[2])


def _worker_lost(arguments: tuple[Any, ...], _result: object) -> bool:
    return any(ended.lost_run for ended in arguments[1])


STORE = "queued.store.sqlite.client_store:SqliteStore"
NEW_JOBS = "queued.store.sqlite.new_jobs:NewJobs"
LEDGER = "queued.store.sqlite.dispatcher_store:SqliteLedger"
FIRINGS = "queued.store.firings:Firings"
DISPATCHER = "queued.service.dispatcher.dispatcher:Dispatcher"
WORKER = "queued.service.worker.worker:Worker"
PROCESSES = "queued.service.supervisor.process_manager:ProcessManager"
RESCUER = "queued.service.dispatcher.rescuer:Rescuer"

POINTS = {
    "enqueue: before it is inserted": Point(NEW_JOBS, "_insert"),
    "enqueue: inserted, not committed": Point(NEW_JOBS, "_insert", after=True),
    "enqueue: committed, not acknowledged": Point(STORE, "enqueue", after=True),
    "claim: taken, not committed": Point(LEDGER, "claim", _true, after=True),
    "claim: committed, not sent": Point(DISPATCHER, "_on_committed", _claimed),
    "claim: sent": Point(DISPATCHER, "_on_committed", _claimed, after=True),
    "run: sent, not begun": Point(WORKER, "_begin_run"),
    "run: begun, not started": Point("queued.service.worker.spawn", "start"),
    "run: started, not known": Point("queued.service.worker.spawn", "start", after=True),
    "run: known": Point("queued.service.worker.execution:Execution", "_start", after=True),
    "run: its output sent": Point(
        "queued.service.worker.output_forwarder:OutputForwarder", "_flush", after=True
    ),
    "run: its output stored, not committed": Point(LEDGER, "store_output", after=True),
    "run: exited, not reported": Point(WORKER, "_finish"),
    "run: reported, not recorded": Point(WORKER, "_finish", after=True),
    "result: arrived": Point("queued.service.dispatcher.turn:TurnRunner", "turn", _result_arrived),
    "result: settled, not committed": Point(LEDGER, "settle", _settled, after=True),
    "result: recorded, not acknowledged": Point(DISPATCHER, "_on_committed", _finished),
    "result: acknowledged": Point(DISPATCHER, "_on_committed", _finished, after=True),
    "hand: one more, not committed": Point(LEDGER, "claim", _one_more, after=True),
    "hand: one more, committed, not sent": Point(DISPATCHER, "_on_committed", _one_more_made),
    "hand: one more, sent": Point(DISPATCHER, "_on_committed", _one_more_made, after=True),
    "hand: received": Point(WORKER, "_accept", _in_hand, after=True),
    "hand: about to be given back": Point(WORKER, "_give_back", _in_hand),
    "hand: given back": Point("queued.service.dispatcher.turn:TurnRunner", "_returned"),
    "hand: undone, not committed": Point(LEDGER, "unclaim", _true, after=True),
    "worker: dead, its orphans alive": Point(
        "queued.service.supervisor.orphan_reaper:OrphanReaper", "leftovers", _run_lost
    ),
    "worker: dead, its orphans killed": Point(
        PROCESSES, "_kill_leftovers", _worker_lost, after=True
    ),
    "worker: dead, not made known": Point(PROCESSES, "_report_death", _worker),
    "worker: dead, made known": Point(PROCESSES, "_report_death", _worker, after=True),
    "worker: forked, not made known": Point(
        "queued.service.supervisor.forking:Forker", "worker", after=True
    ),
    "fire: job inserted, schedule not moved on": Point(FIRINGS, "_move_on"),
    "fire: fired, not committed": Point(FIRINGS, "fire", _true, after=True),
    "fire: committed": Point("queued.service.dispatcher.scheduler:Scheduler", "_log_fired"),
    "rescue: dead instances are known": Point(RESCUER, "_clean_up"),
    "rescue: nothing killed": Point("queued.service.dispatcher.rescuer", "kill_leftovers"),
    "rescue: leftovers are killed": Point(
        "queued.service.dispatcher.rescuer", "kill_leftovers", after=True
    ),
    "rescue: settled, not committed": Point(LEDGER, "settle", _settled, after=True),
    "rescue: unregistered, not committed": Point(LEDGER, "unregister", after=True),
    "rescue: committed": Point("queued.service.dispatcher.rescuer:OtherInstances", "forget"),
    "rescue: over": Point("queued.service.dispatcher.rescuer:OtherInstances", "forget", after=True),
    "take: settled, not committed": Point(RESCUER, "_settle", after=True),
    "start: registered, not committed": Point(LEDGER, "register", after=True),
    "start: the database is open": Point(DISPATCHER, "_open", after=True),
    "again: forked, not told of the workers": Point(
        "queued.service.supervisor.forking:Forker", "dispatcher", _workers_live, after=True
    ),
    "end: unregistered, not committed": Point(LEDGER, "unregister", after=True),
    "end: unregistered": Point(DISPATCHER, "_shut_down", after=True),
}


def owner_of(path: str) -> Any:
    """Returns the module or class of `module:Class`."""
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def arm(point: Point, victim: str, mark: str) -> None:
    """Wraps the function of the point, so that it fires."""
    owner = owner_of(point.owner)
    plain = getattr(owner, point.name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not point.after and point.when(arguments, None):
            _trip(victim, mark)
        result = plain(*arguments, **named)
        if point.after and point.when(arguments, result):
            _trip(victim, mark)
        return result

    setattr(owner, point.name, wrapped)


def _trip(victim: str, mark: str) -> None:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    if victim == "stop":
        stop_service()
        return
    if victim == "all":
        _kill_others()
    while victim == "pause":
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_others() -> None:
    """Kills all processes of the service but this one; a stopped supervisor restarts none."""
    ours = Path("/proc/self/cmdline").read_bytes()
    (supervisor,) = _first
    if supervisor != os.getpid():
        os.kill(supervisor, signal.SIGSTOP)
    for process in procfs.all_processes().values():
        child = process.parent == supervisor and process.pid != os.getpid()
        if child and Path(f"/proc/{process.pid}/cmdline").read_bytes() == ours:
            os.kill(process.pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)


def stop_service() -> None:
    """In a worker: has the supervisor end all jobs; returns when its SIGQUIT has arrived."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGQUIT])
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getppid(), number)
    signal.sigwait([signal.SIGQUIT])
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.kill(os.getpid(), signal.SIGQUIT)


def run(program: str, arguments: list[str]) -> None:
    """Becomes `queued` or `queuectl`."""
    sys.argv = [program, *arguments]
    name = "queued.__main__" if program == "queued" else "queued.ctl.command_line"
    sys.exit(importlib.import_module(name).main())


def main() -> None:
    """See the module."""
    _, point, victim, mark, program, *arguments = sys.argv
    _first.append(os.getpid())
    # On a busy machine, too, a quick job is one for the worker and for the dispatcher.
    setattr(prefetch, "QUICK_S", 0.5)  # noqa: B010
    setattr(claims, "_QUICK_MS", 500)  # noqa: B010
    arm(POINTS[point], victim, mark)
    run(program, arguments)


if __name__ == "__main__":
    main()
