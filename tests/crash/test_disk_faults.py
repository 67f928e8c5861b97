"""The disk refuses any one call, or a few in a row: the turn is made again, and nothing is lost.

`DISK_FAULT_SEEDS` runs more of them: DISK_FAULT_SEEDS=100 pytest tests/crash/test_disk_faults.py
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from queued.core.errors import Exit, QueuedError
from tests.crash.faulty_vfs import FaultyVfs, installed
from tests.crash.in_process_dispatcher import InProcessDispatcher
from tests.torture import history
from tests.torture.checker import check
from tests.torture.history import RecordedResult

SEEDS = range(1, 1 + int(os.environ.get("DISK_FAULT_SEEDS", "1")))
STEPS = 25
POINTS = 15  # of each row; other rows refuse other calls of the same kind
_TRIES = 4  # of as many, one is made by the next dispatcher, which opens the database again


def _io(code: int) -> Callable[[], Exception]:
    def make() -> Exception:
        error: Any = apsw.IOError()
        error.extendedresult = code
        return cast("Exception", error)

    return make


FAULTS: dict[str, tuple[str, Callable[[], Exception]]] = {
    "no room": ("write", apsw.FullError),
    "write fails": ("write", _io(apsw.SQLITE_IOERR_WRITE)),
    "read fails": ("read", _io(apsw.SQLITE_IOERR_READ)),
    "sync fails": ("sync", _io(apsw.SQLITE_IOERR_FSYNC)),
    "truncate fails": ("truncate", _io(apsw.SQLITE_IOERR_TRUNCATE)),
    "open fails": ("open", apsw.CantOpenError),
    "delete fails": ("delete", _io(apsw.SQLITE_IOERR_DELETE)),
}


class Refusals:
    """Lets `length` calls of one kind fail, beginning with call number `first`."""

    def __init__(self, kind: str, error: Callable[[], Exception], first: int, length: int) -> None:
        self._kind = kind
        self._error = error
        self._range = range(first, first + length)
        self.calls = 0
        self.refused = 0

    def __call__(self, kind: str, _name: str) -> Exception | None:
        """The fault, if it is this call's."""
        if kind != self._kind:
            return None
        self.calls += 1
        if self.calls not in self._range:
            return None
        self.refused += 1
        return self._error()


class Service:
    """A dispatcher that repeats refused turns; `told` has the errors that users were shown."""

    def __init__(self, path: str, seed: int) -> None:
        self._path = path
        self.told: list[QueuedError] = []
        self.dispatcher: InProcessDispatcher = self._until(lambda: InProcessDispatcher(path, seed))

    def _until(self, step: Callable[[], InProcessDispatcher]) -> InProcessDispatcher:
        while True:
            try:
                return step()
            except QueuedError as error:
                self._accept(error)

    def _accept(self, error: QueuedError) -> None:
        assert error.exit_code in (Exit.IO, Exit.DENIED, Exit.BUSY), repr(error)
        self.told.append(error)

    def step(self, number: int) -> None:
        """A user's step, which is not made again; then a turn, which is."""
        try:
            (self.dispatcher.enqueue if number % 3 else self.dispatcher.move)()
        except QueuedError as error:
            self._accept(error)
        self.dispatcher.report()
        self.turn()

    def turn(self) -> None:
        """A turn, until it succeeds."""
        broken = False  # whether the database must be opened again
        for tries in range(100):
            try:
                if broken or tries % _TRIES == _TRIES - 1:
                    broken = True
                    self.dispatcher.close()
                    self.dispatcher.open()
                    broken = False
                self.dispatcher.turn()
            except QueuedError as error:
                self._accept(error)
            else:
                return
        msg = "no turn succeeds"
        raise AssertionError(msg)


def _broken(path: str, dispatcher: InProcessDispatcher, traces: Path) -> list[str]:
    known = history.read(path, traces)
    names = {job.seq: job.id for job in known.jobs.values()}
    known.acknowledged = dispatcher.acknowledged
    known.asked = set(known.jobs)
    known.announced = [
        RecordedResult(
            job=names[row],
            attempt=attempt,
            outcome=str(ending.outcome),
            exit_code=ending.exit_code,
            signal=ending.signal,
        )
        for row, attempt, ending in dispatcher.recorded
    ]
    retried = {job.id for job in known.jobs.values() if job.attempts != _failed(known, job.id)}
    for name in retried:  # by a user: how often is not written down here
        known.jobs.pop(name)
    ignored = ("untold", "lost", "miscounted_labels", "illegal")  # no command ran
    lost = dispatcher.acknowledged - set(names.values())
    return [*lost, *(line for line in check(known) if line.split(":")[0] not in ignored)]


def _failed(known: history.History, name: str) -> int:
    return sum(
        run.outcome not in ("interrupted", "cancelled") and run.exit_code != 0
        for run in known.attempts[name]
    )


def _run(directory: Path, seed: int, refusals: Refusals) -> None:
    directory.mkdir(mode=0o700)
    path = str(directory / "queue.db")
    with installed() as disk:
        disk.skips_syncs = True
        disk.fault = refusals
        service = Service(path, seed)
        for number in range(STEPS):
            service.step(number)
        disk.fault = None
        service.dispatcher.finish()
        service.dispatcher.close()
        assert _broken(path, service.dispatcher, directory) == []


def _calls(directory: Path, seed: int, kind: str) -> int:
    """How many calls of that kind there are where none is refused."""
    none = Refusals(kind, apsw.FullError, 0, 0)
    _run(directory, seed, none)
    return none.calls


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("name", FAULTS)
def test_a_refused_call_costs_nothing(tmp_path: Path, name: str, length: int, seed: int) -> None:
    kind, error = FAULTS[name]
    calls = _calls(tmp_path / "plain", seed, kind)
    assert calls
    stride = max(1, calls // POINTS)
    offset = random.Random(f"{name} {length} {seed}").randrange(stride)
    for first in range(1 + offset, calls + 1, stride):
        refusals = Refusals(kind, error, first, length)
        _run(tmp_path / f"{first}", seed, refusals)
        assert refusals.refused


def test_a_fault_that_lasts_is_told_to_the_user(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    directory.mkdir(mode=0o700)
    with installed() as disk:
        assert isinstance(disk, FaultyVfs)
        dispatcher = InProcessDispatcher(str(directory / "queue.db"), 1)
        disk.fault = Refusals("write", apsw.FullError, 1, 10**9)
        before = dispatcher.jobs()
        with pytest.raises(QueuedError, match="no room on the disk") as refusal:
            dispatcher.enqueue()
        assert refusal.value.exit_code == Exit.IO
        assert dispatcher.jobs() == before
        disk.fault = None
        dispatcher.enqueue()
        assert dispatcher.acknowledged <= {job.id for job in dispatcher.jobs()}
        dispatcher.close()
