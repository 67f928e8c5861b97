"""Jobs, attempts and services as `--json` prints them; times are ISO 8601 in UTC."""

from collections.abc import Iterable, Sequence

from queued.core import labels
from queued.core.dependencies import Dependency
from queued.core.model import DEPENDENCY, Instance
from queued.core.records import Attempt, Job, WorkerStatus
from queued.core.times import iso


def job_record(job: Job, last: Attempt | None, blocked: str = "") -> dict[str, object]:
    """Returns a job with the end of its last run; `state` is its label, for example `scheduled`.

    `blocked` is why it does not start; see `BlockReasons`.
    """
    return {
        "id": job.id,
        "command": job.command,
        "state": job.label,
        "queue": job.queue,
        "priority": job.priority,
        "requires": sorted(job.requires),
        "slots": job.slots,
        "attempts": job.attempts,
        "max_retries": job.max_retries,
        "runs": job.runs,
        "next_run_at": iso(job.next_run_at_ms),
        "created_at": iso(job.created_ms),
        "updated_at": iso(job.updated_ms),
        "started_at": None if last is None else iso(last.started_ms),
        "ended_at": None if last is None else _moment(last.ended_ms),
        "ran_seconds": None if last is None else _seconds(last.ran_ms),
        "outcome": outcome(job, last),
        "exit_code": None if last is None else last.exit_code,
        "last_error": job.last_error,
        "blocked": blocked or None,
        **({"labels": job.labels} if job.labels else {}),
        **({} if job.expires_ms is None else {"expires_at": iso(job.expires_ms)}),
        **({} if job.key is None else {"key": job.key, "key_limit": job.key_limit}),
        **({} if job.key_rate is None else {"key_rate": str(job.key_rate)}),
        **({} if job.unique_key is None else _unique(job)),
        "options": job.options.given(),
        **({} if job.schedule is None else _firing(job)),
        **({} if job.array_id is None else {"array": job.array_id, "array_index": job.array_index}),
        "submitted_by": job.submitted_by or None,
    }


def _unique(job: Job) -> dict[str, object]:
    until = job.unique_until_ms
    return {
        "unique_key": job.unique_key,
        "unique_while": job.unique_while,
        "unique_until": None if until is None else iso(until),
    }


def _firing(job: Job) -> dict[str, object]:
    return {"schedule": job.schedule, "scheduled_at": _moment(job.scheduled_ms)}


def outcome(job: Job, last: Attempt | None) -> str | None:
    """Returns how the last run of a job ended, or `dependency` if the job must not run."""
    if job.lacks_dependency:
        return DEPENDENCY
    return None if last is None else last.outcome


def full_record(
    job: Job, attempts: Sequence[Attempt], blocked: str, dependencies: Sequence[Dependency]
) -> dict[str, object]:
    """Returns a job with all its attempts, and all that it waits for."""
    return {
        **job_record(job, attempts[-1] if attempts else None, blocked),
        "cancel_requested_at": _moment(job.cancel_requested_ms),
        "dependencies": [
            {"job": one.id, "state": one.label, "condition": one.condition, "status": one.status}
            for one in dependencies
        ],
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
        "labels": sorted(labels.split(instance.labels)),
        "lease_seconds": instance.lease_s or None,
        "renewed_seconds_ago": round(instance.silent_s, 3) if instance.lease_s else None,
        "workers": [_worker_record(worker, command_pid) for worker, command_pid in workers],
    }


def host_record(
    name: str,
    drained_ms: int | None,
    services: Iterable[Instance],
    workers: Sequence[WorkerStatus],
) -> dict[str, object]:
    """Returns a host with its services; the pids of commands are not looked up."""
    return {
        "host": name,
        "drained_at": _moment(drained_ms),
        "services": [
            instance_record(
                one, [(worker, None) for worker in workers if worker.instance == one.id]
            )
            for one in services
        ],
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
