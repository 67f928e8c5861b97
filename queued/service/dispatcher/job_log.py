"""The log lines of a turn: one for each run that was recorded, with all that explains its end."""

import logging
from typing import NamedTuple

from queued.core import times
from queued.core.model import Outcome, State
from queued.core.runs import Claim
from queued.service.dispatcher.turn_results import RecordedRun, Turn
from queued.service.log import Log

_COMMAND_CHARS = 200  # of a command, so that a long script does not fill the log


def log_turn(log: Log, turn: Turn) -> None:
    """Logs what a committed turn did."""
    if log.is_enabled_for(logging.DEBUG):
        for claim in turn.claimed:
            log.debug("job.claimed", **names(claim), worker=claim.worker)
        for claim in turn.returned:
            log.debug("job.returned", **names(claim), worker=claim.worker)
    for claim in turn.restored:
        log.warning("job.claim_restored", **names(claim), worker=claim.worker)
    for claim in turn.missing:
        log.error(
            "job.missing",
            **names(claim),
            command=claim.command[:_COMMAND_CHARS],
            action="enqueue it again; its run is ended",
        )
    for key, name in turn.stale.items():
        log.warning("job.claim_lost", job=name, attempt=key.attempt)
    for finished in turn.finished:
        _finished(log, finished)


def _finished(log: Log, finished: RecordedRun) -> None:
    claim, ending, verdict = finished.claim, finished.ending, finished.verdict
    line = _event(finished)
    log.log(
        line.level,
        line.event,
        **names(claim),
        worker=claim.worker,
        command=claim.command[:_COMMAND_CHARS],
        outcome=ending.outcome,
        exit_code=ending.exit_code,
        signal=ending.signal,
        error=verdict.error,
        state=finished.state,
        attempts=claim.attempts + verdict.counted,
        max_retries=claim.max_retries,
        next_run_at=times.iso(verdict.next_run_at_ms) if finished.state is State.PENDING else None,
        waited_ms=claim.waited_ms,
        ran_ms=ending.ran_ms,
        cpu_ms=ending.cpu_ms,
        peak_kib=ending.peak_kib,
        output_bytes=ending.stdout_bytes + ending.stderr_bytes,
    )


class _Event(NamedTuple):
    level: int
    event: str


_EVENTS = {
    State.COMPLETED: _Event(logging.INFO, "job.completed"),
    State.DEAD: _Event(logging.ERROR, "job.dead"),
    State.CANCELLED: _Event(logging.INFO, "job.cancelled"),
}
_INTERRUPTED = _Event(logging.INFO, "job.interrupted")
_RETRYING = _Event(logging.WARNING, "job.retrying")
_DEFERRED = _Event(logging.INFO, "job.deferred")


def _event(finished: RecordedRun) -> _Event:
    """Returns the level and the event of a run, by the state of its job after the run."""
    if finished.state in _EVENTS:
        return _EVENTS[finished.state]
    if finished.ending.outcome is Outcome.INTERRUPTED:
        return _INTERRUPTED
    return _RETRYING if finished.verdict.counted else _DEFERRED


def names(claim: Claim) -> dict[str, object]:
    """Returns the fields that all lines about a run have."""
    return {"job": claim.id, "queue": claim.queue, "attempt": claim.key.attempt}
