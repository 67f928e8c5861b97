"""The log lines of a turn: one `job.finished` for each run, with all that explains its end."""

import logging

from queued.core import times
from queued.core.model import Claim, State
from queued.service.dispatcher.turn import RecordedRun, Turn
from queued.service.log import Log


def log_turn(log: Log, turn: Turn) -> None:
    """Logs what a committed turn did."""
    if log.is_enabled_for(logging.DEBUG):
        for claim in turn.claimed:
            log.debug("job.claimed", **names(claim), worker=claim.worker)
        for claim in turn.returned:
            log.debug("job.returned", **names(claim), worker=claim.worker)
    for key in turn.stale:
        log.warning("job.claim_lost", row=key.job, attempt=key.attempt)
    for finished in turn.finished:
        _finished(log, finished)


def _finished(log: Log, finished: RecordedRun) -> None:
    claim, ending, verdict = finished.claim, finished.ending, finished.verdict
    write = log.info if ending.succeeded else log.warning
    write(
        "job.finished",
        **names(claim),
        worker=claim.worker,
        outcome=ending.outcome,
        exit_code=ending.exit_code,
        signal=ending.signal,
        state=finished.state,
        attempts=claim.attempts + verdict.counted,
        max_retries=claim.max_retries,
        retry_at=times.iso(verdict.next_run_at_ms) if finished.state is State.PENDING else None,
        waited_ms=max(0, claim.claimed_ms - claim.due_ms),
        ran_ms=ending.ran_ms,
        cpu_ms=ending.cpu_ms,
        peak_kib=ending.peak_kib,
        output_bytes=ending.stdout_bytes + ending.stderr_bytes,
    )


def names(claim: Claim) -> dict[str, object]:
    """Returns the fields that all lines about a run have."""
    return {"job": claim.id, "queue": claim.queue, "attempt": claim.key.attempt}
