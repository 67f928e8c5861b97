"""One turn of the dispatcher: what one transaction does, and what may be told after its commit.

A turn changes nothing but the database. What follows from it (messages, claims, log lines) is
returned, to be used if the commit succeeds and to be thrown away if not.
"""

import random
from typing import NamedTuple

from queued.core.model import (
    Backoff,
    Chunk,
    Claim,
    Ending,
    Key,
    Outcome,
    State,
    Verdict,
    judge,
)
from queued.core.settings import Settings
from queued.service.channel import (
    Hello,
    Message,
    Output,
    Piece,
    Recorded,
    Result,
    Run,
    Stored,
    WorkerGone,
    WorkerStarted,
)
from queued.service.crew import Crew
from queued.store.base import Ledger

PROMOTED_AT_ONCE = 10_000


class Finished(NamedTuple):
    """A run that was recorded."""

    claim: Claim
    ending: Ending
    verdict: Verdict
    state: State


class Turn:
    """The consequences of one transaction."""

    def __init__(self, claims: dict[int, Claim]) -> None:
        self.claims = dict(claims)
        self.claimed: list[Claim] = []
        self.finished: list[Finished] = []
        self.lost: list[Key] = []
        self.printed: list[tuple[Claim, Chunk]] = []
        self.replies: dict[int, list[Message]] = {}
        self.next_due_ms: int | None = None

    def reply(self, worker: int, message: Message) -> None:
        """To be sent after the commit."""
        self.replies.setdefault(worker, []).append(message)


class Clerk:
    """Does turns: settles, stores and claims for one instance."""

    def __init__(self, ledger: Ledger, instance: str) -> None:
        self._ledger = ledger
        self._instance = instance

    def turn(
        self,
        crew: Crew,
        settings: Settings,
        *,
        claiming: bool,
        now_ms: int,
    ) -> Turn:
        """All that the crew's inbox asks for, then a job for each idle worker."""
        turn = Turn(crew.claims)
        for worker, message in crew.inbox:
            self._write(turn, worker, message, settings, now_ms)
        turn.next_due_ms = self._ledger.promote(now_ms=now_ms, limit=PROMOTED_AT_ONCE)
        if claiming:
            self._claim(turn, crew.idle(turn.claims), settings, now_ms)
        return turn

    def _write(
        self, turn: Turn, worker: int, message: Message, settings: Settings, now_ms: int
    ) -> None:
        match message:
            case Result():
                self._result(turn, worker, message, settings, now_ms)
            case Output():
                self._output(turn, worker, message)
            case Hello():
                self._hello(turn, worker, message, settings, now_ms)
            case WorkerStarted():
                self._ledger.worker_started(self._instance, worker, message.pid, now_ms=now_ms)
            case WorkerGone():
                self._gone(turn, worker, message, settings, now_ms)

    def _result(
        self, turn: Turn, worker: int, result: Result, settings: Settings, now_ms: int
    ) -> None:
        claim = turn.claims.get(worker)
        if claim is None or claim.key != result.key:
            turn.lost.append(result.key)
            turn.reply(worker, Recorded(key=result.key, accepted=False))
            return
        for piece in result.pieces:
            self._store(turn, claim, piece)
        accepted = self.settle(turn, claim, result.ending, settings, now_ms)
        turn.reply(worker, Recorded(key=result.key, accepted=accepted))

    def _output(self, turn: Turn, worker: int, output: Output) -> None:
        claim = turn.claims.get(worker)
        if claim is None or claim.key != output.key:
            return
        self._store(turn, claim, output.piece)
        chunk = output.piece.chunk
        end = chunk.position + len(chunk.content)
        turn.reply(worker, Stored(key=output.key, stream=chunk.stream, end=end))

    def _store(self, turn: Turn, claim: Claim, piece: Piece) -> None:
        key = claim.key
        turn.printed.append((claim, piece.chunk))
        self._ledger.store_output(key, piece.chunk)
        if piece.tail_start > piece.head_end:
            self._ledger.trim_output(
                key, piece.chunk.stream, head_end=piece.head_end, tail_start=piece.tail_start
            )

    def _hello(
        self, turn: Turn, worker: int, hello: Hello, settings: Settings, now_ms: int
    ) -> None:
        """A claim that the worker does not hold never reached it, and one it should not is lost."""
        claim = turn.claims.get(worker)
        held = claim.key if claim is not None else None
        if held == hello.holding:
            return
        if hello.holding is not None:
            turn.lost.append(hello.holding)
            turn.reply(worker, Recorded(key=hello.holding, accepted=False))
        if claim is not None:
            self.settle(turn, claim, Ending(Outcome.INTERRUPTED), settings, now_ms)

    def _gone(
        self, turn: Turn, worker: int, gone: WorkerGone, settings: Settings, now_ms: int
    ) -> None:
        """Nothing of the worker lives. If it left cleanly, a claim of it was never started."""
        self._ledger.worker_gone(self._instance, worker)
        claim = turn.claims.get(worker)
        if claim is None:
            return
        ending = (
            Ending(Outcome.INTERRUPTED)
            if gone.clean
            else Ending(Outcome.LOST, error="its worker died")
        )
        self.settle(turn, claim, ending, settings, now_ms)

    def settle(
        self, turn: Turn, claim: Claim, ending: Ending, settings: Settings, now_ms: int
    ) -> bool:
        """Records an ending; False if the claim was not in force any more."""
        verdict = judge(claim, ending, backoff_of(claim, settings), now_ms=now_ms)
        state = self._ledger.settle(claim.key, ending, verdict, now_ms=now_ms)
        turn.claims.pop(claim.worker, None)
        if state is None:
            turn.lost.append(claim.key)
            return False
        turn.finished.append(Finished(claim, ending, verdict, state))
        return True

    def _claim(self, turn: Turn, idle: list[int], settings: Settings, now_ms: int) -> None:
        for worker in idle:
            token = random.getrandbits(62)
            claim = self._ledger.claim(self._instance, worker, token, now_ms=now_ms)
            if claim is None:
                return
            turn.claims[worker] = claim
            turn.claimed.append(claim)
            # A run acknowledges the result before it; two messages would say the same twice.
            kept = [m for m in turn.replies.get(worker, []) if not _accepted(m)]
            turn.replies[worker] = [*kept, run_of(claim, settings)]


def _accepted(message: Message) -> bool:
    return isinstance(message, Recorded) and message.accepted


def backoff_of(claim: Claim, settings: Settings) -> Backoff:
    """The job's own retry delay where it gave one, else the setting of the moment."""
    return Backoff(
        *(
            float(claim.options.get(name, default))  # type: ignore[arg-type]
            for name, default in (
                ("backoff_base", settings.backoff_base),
                ("backoff_max", settings.backoff_max),
                ("backoff_jitter", settings.backoff_jitter),
            )
        )
    )


def run_of(claim: Claim, settings: Settings) -> Run:
    """What a worker needs to know of a claim."""
    options = claim.options
    return Run(
        key=claim.key,
        id=claim.id,
        queue=claim.queue,
        command=claim.command,
        max_retries=claim.max_retries,
        timeout_s=float(options.get("timeout", settings.default_timeout)),  # type: ignore[arg-type]
        kill_grace_s=float(options.get("kill_grace", settings.kill_grace)),  # type: ignore[arg-type]
        output_limit=int(options.get("output_limit", settings.output_limit)),  # type: ignore[call-overload]
        clean=settings.environment == "clean",
        options=options,
    )
