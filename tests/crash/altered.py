"""Starts our programs with something of them, or of the system under them, altered.

    python -m tests.crash.altered NAME[=ARGUMENT]... queued|queuectl ARGUMENT...

First what the system may do to a program; then defects that we put in on purpose, to see that the
tests find them. No code of the product knows of either.
"""

import atexit
import errno
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import apsw

from queued.core import model, times
from queued.core.errors import StorageError
from queued.core.model import Claim, Key
from queued.service import executor, rescue, turn, wake
from queued.service.channel import Recorded, Result, Run
from queued.service.clock import Clock
from queued.service.dispatcher import Dispatcher
from queued.service.orphans import Orphans
from queued.service.streams import Streams
from queued.service.turn import Clerk, Turn
from queued.store import lock, queries
from queued.store.ledger import SqliteLedger
from queued.store.sqlite import SqliteStore
from tests.crash.disk import Disk, Fault
from tests.crash.tripwire import POINTS, arm, run


def _put(owner: Any, name: str, value: object) -> None:
    setattr(owner, name, value)


# The system


def _install(fault: Fault) -> None:
    disk = Disk()
    disk.fault = fault
    atexit.register(disk.unregister)  # and it is kept until then


def full(control: str) -> None:
    """The disk is full while the file is there."""

    def fault(kind: str, _name: str) -> Exception | None:
        return apsw.FullError() if kind == "write" and os.path.exists(control) else None

    _install(fault)


def sometimes(share: str) -> None:
    """So many of a thousand writes and syncs fail, in an order that is always the same."""
    calls = itertools.count(1)

    def fault(kind: str, name: str) -> Exception | None:
        if kind not in ("write", "sync") or not name.endswith("-wal"):
            return None
        return apsw.FullError() if next(calls) * 7919 % 1000 < int(share) else None

    _install(fault)


def no_process(count: str) -> None:
    """The first so many starts of a command are refused in the worker."""
    left = itertools.count(int(count), -1)
    plain = os.posix_spawn

    def refuse(*words: Any, **named: Any) -> int:
        if next(left) > 0:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return plain(*words, **named)

    _put(os, "posix_spawn", refuse)


def no_fork(count: str) -> None:
    """The first so many forks of the supervisor are refused."""
    left = itertools.count(int(count), -1)
    plain = os.fork

    def refuse() -> int:
        if next(left) > 0:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return plain()

    _put(os, "fork", refuse)


def clock(path: str) -> None:
    """The wall clock is off by the milliseconds in the file."""
    plain, plain_set = times.now_ms, wake.WallAlarm.set

    def offset_ms() -> int:
        with open(path, encoding="ascii") as file:
            return int(file.read() or 0)

    def alarm(self: wake.WallAlarm, at_ms: int | None) -> None:
        plain_set(self, None if at_ms is None else at_ms - offset_ms())

    _put(times, "now_ms", lambda: plain() + offset_ms())
    _put(wake.WallAlarm, "set", alarm)


def refused_news(_argument: str) -> None:
    """The turn that first reads of a cancel cannot be committed."""
    plain = SqliteLedger.cancel_requests
    refusals = itertools.count()

    def refuse(self: SqliteLedger, instance: str) -> list[Key]:
        found = plain(self, instance)
        if found and next(refusals) == 0:
            msg = "no room"
            raise StorageError(msg)
        return found

    _put(SqliteLedger, "cancel_requests", refuse)


def refused_shift(_argument: str) -> None:
    """The turn that first moves retries along with the clock cannot be committed."""
    plain = Clock.check
    refusals = itertools.count()

    def refuse(self: Clock, now_ms: int) -> bool:
        shifted = plain(self, now_ms)
        if shifted and next(refusals) == 0:
            msg = "no room"
            raise StorageError(msg)
        return shifted

    _put(Clock, "check", refuse)


def tripwire(argument: str) -> None:
    """`POINT|VICTIM|MARK`: see the module tripwire."""
    point, victim, mark = argument.split("|")
    arm(POINTS[point], victim, mark)


# Defects


def no_fence(_argument: str) -> None:
    """A result is recorded whether or not its claim is in force."""
    plain = queries.load

    def load(engine: str) -> dict[str, str]:
        found = dict(plain(engine))
        fence = "AND runs = :attempt AND token = :token AND state = 'processing'"
        assert fence in found["settle"]
        found["settle"] = found["settle"].replace(fence, "AND :token IS NOT NULL")
        return found

    def result(self: Clerk, made: Turn, worker: int, sent: Result, *rest: Any) -> None:
        database = self._ledger._database  # type: ignore[attr-defined]
        claim = next(iter(made.hands.of(worker)), None)
        if claim is None:
            job = database.row("show", job=sent.key.job)
            claim = Claim(
                sent.key, job[1], job[2], job[4], {}, job[9], job[10], worker, job[8], job[8]
            )
        made.reply(worker, Recorded(key=sent.key, accepted=True))
        self.settle(made, claim, sent.ending, *rest)

    _put(queries, "load", load)
    _put(Clerk, "_result", result)


def no_rescue(_argument: str) -> None:
    """What a dead instance had claimed stays claimed."""
    _put(rescue.Rescuer, "rescue", lambda _self, _settings: False)


def rescue_without_kill(_argument: str) -> None:
    """A dead instance's commands live on."""
    _put(rescue, "kill_leftovers", lambda _instance, _claims: (0, []))


def alone_not_group(_argument: str) -> None:
    """A run is over when its command is, whatever it has left."""
    _put(executor.Execution, "_exited", lambda self, _now_s, **_named: self._over())


def orphans_stay(_argument: str) -> None:
    """What a dead worker left lives on."""
    _put(Orphans, "kill", lambda _self, _found, _lost: 0)


def told_before_commit(_argument: str) -> None:
    """Workers get their claims, and their acknowledgements, before they are durable."""
    plain = Clerk.turn

    def eager(self: Clerk, crew: Any, *rest: Any, **named: Any) -> Turn:
        made = plain(self, crew, *rest, **named)
        for worker, messages in made.replies.items():
            crew.send(worker, messages)
        told = any(isinstance(m, Recorded | Run) for sent in made.replies.values() for m in sent)
        made.replies.clear()
        if told and _once():
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    _put(Clerk, "turn", eager)


_TOLD = itertools.count()
_KILLS_AT = 2  # the third time that anybody is told anything


def _once() -> bool:
    mark = os.environ.get("ALTERED_MARK", "")
    if next(_TOLD) < _KILLS_AT or os.path.exists(mark):
        return False
    os.close(os.open(mark, os.O_CREAT))
    return True


def early_retry(_argument: str) -> None:
    """A retry waits for nothing."""
    _put(model, "backoff_s", lambda _attempts, **_named: 0.0)


def uncounted_loss(_argument: str) -> None:
    """An attempt that was lost is not counted."""
    plain = model.judge

    def judge(claim: Claim, ending: model.Ending, *rest: Any, **named: Any) -> model.Verdict:
        verdict = plain(claim, ending, *rest, **named)
        return verdict._replace(counted=0) if ending.outcome == "lost" else verdict

    _put(turn, "judge", judge)


def output_once(_argument: str) -> None:
    """Output that a dead dispatcher did not store is not sent again."""
    _put(Streams, "rewind", lambda _self: None)


def printed_before_commit(_argument: str) -> None:
    """queuectl says the id before the job is stored."""
    plain = SqliteStore._insert

    def insert(self: SqliteStore, *rest: Any) -> str:
        name = plain(self, *rest)
        os.write(1, f"{name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
        return name

    _put(SqliteStore, "_insert", insert)


def everybody_is_dead(_argument: str) -> None:
    """Liveness is not asked of the kernel: whoever is another is dead."""
    _put(lock, "take", lambda _descriptor, **_named: True)


def uncounted_moves(_argument: str) -> None:
    """The table of counts is not kept."""
    plain = Dispatcher._open

    def opened(self: Dispatcher) -> None:
        plain(self)
        self._ledger._database._connection.execute("DROP TRIGGER jobs_recounted")

    _put(Dispatcher, "_open", opened)


ALTERATIONS: dict[str, Callable[[str], None]] = {
    alteration.__name__: alteration
    for alteration in (
        full, sometimes, no_process, no_fork, clock, refused_news, refused_shift, tripwire,
        no_fence, no_rescue, rescue_without_kill, alone_not_group, orphans_stay,
        told_before_commit, early_retry, uncounted_loss, output_once, printed_before_commit,
        everybody_is_dead, uncounted_moves,
    )
}  # fmt: skip


def main() -> None:
    """See the module."""
    words = sys.argv[1:]
    while words[0] not in ("queued", "queuectl"):
        name, _, argument = words.pop(0).partition("=")
        ALTERATIONS[name](argument)
    run(words[0], words[1:])


if __name__ == "__main__":
    main()
