"""Jobs, attempts and services as `--json` prints them; times are ISO 8601 in UTC."""

from collections.abc import Iterable, Sequence

from queued.core.model import Instance
from queued.core.records import Attempt, Job, WorkerStatus
from queued.core.times import iso


def job_record(job: Job, last: Attempt | None) -> dict[str, object]:
    """Returns a job with the end of its last run; `state` is its label, for example `scheduled`."""
    return {
        "id": job.id,
        "command": job.command,
        "state": job.label,
        "queue": job.queue,
        "priority": job.priority,
        "attempts": job.attempts,
        "max_retries": job.max_retries,
        "runs": job.runs,
        "next_run_at": iso(job.next_run_at_ms),
        "created_at": iso(job.created_ms),
        "updated_at": iso(job.updated_ms),
        "started_at": None if last is None else iso(last.started_ms),
        "ended_at": None if last is None else _moment(last.ended_ms),
        "ran_seconds": None if last is None else _seconds(last.ran_ms),
        "outcome": None if last is None else last.outcome,
        "exit_code": None if last is None else last.exit_code,
        "last_error": job.last_error,
        "options": job.options.given(),
    }


def full_record(job: Job, attempts: Sequence[Attempt]) -> dict[str, object]:
    """Returns a job with all its attempts."""
    return {
        **job_record(job, attempts[-1] if attempts else None),
        "cancel_requested_at": _moment(job.cancel_requested_ms),
        "attempts_history": [attempt_record(attempt) for attempt in attempts],
    }


def attempt_record(attempt: Attempt) -> dict[str, object]:
    """Returns one run of a job; the fields about its end are null while it runs."""
    return {
        "attempt": attempt.number,
        "deferrals": attempt.deferrals,
        "outcome": attempt.outcome,
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "error": attempt.error,
        "started_at": iso(attempt.started_ms),
        "ended_at": _moment(attempt.ended_ms),
        "ran_seconds": _seconds(attempt.ran_ms),
        "cpu_seconds": _seconds(attempt.cpu_ms),
        "peak_kib": attempt.peak_kib,
        "stdout_bytes": attempt.stdout_bytes,
        "stderr_bytes": attempt.stderr_bytes,
        "instance": attempt.instance,
        "worker": attempt.worker,
    }


def instance_record(
    instance: Instance, workers: Iterable[tuple[WorkerStatus, int | None]]
) -> dict[str, object]:
    """Returns a running service and its workers, each with the pid of its command."""
    return {
        "instance": instance.id,
        "host": instance.host,
        "pid": instance.pid,
        "version": instance.version,
        "started_at": iso(instance.started_ms),
        "stop_requested_at": _moment(instance.stop_requested_ms),
        "workers": [_worker_record(worker, command_pid) for worker, command_pid in workers],
    }


def _worker_record(worker: WorkerStatus, command_pid: int | None) -> dict[str, object]:
    return {
        "worker": worker.worker,
        "pid": worker.pid,
        "started_at": iso(worker.started_ms),
        "job": worker.job,
        "attempt": worker.attempt,
        "command": worker.command,
        "command_pid": command_pid,
        "since": _moment(worker.since_ms),
    }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
