"""The running services: start, stop, list. A service is alive while it holds its lock file."""

import os
import sys
from collections.abc import Iterator, Sequence

from queued.core.errors import Exit, WaitTimeoutError
from queued.core.model import Instance, WorkerStatus
from queued.core.times import iso, monotonic_s, now_ms, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import Column, heading, put, put_json, row, say, width_here
from queued.store import instance_lock

START = """\
Usage: queuectl worker start [options]

Becomes a service (`queued`) that runs jobs in this terminal, until Ctrl+C, TERM
or `queuectl worker stop`.

Options:
  --count N            how many jobs run at once (else the setting `workers`)
  --background         detach, and return once the workers are ready
""" + COMMON.replace("print the result as JSON", "log as JSON lines")


def start(context: Context, arguments: Arguments) -> int:
    """Becomes `queued`. Raises UsageError before that if the count makes no sense."""
    from queued.core.settings import SETTINGS

    most = int(SETTINGS["workers"].maximum)
    count = arguments.whole("--count", 1, most)
    # -P: no module of the directory that we happen to be in is taken for one of ours.
    words = [sys.executable, "-P", "-m", "queued", "--db", context.database]
    words += ["--config", context.conf] if context.conf else []
    words += ["--workers", str(count)] if count else []
    words += ["--background"] if arguments.flag("--background") else []
    if context.json:
        os.environ["QUEUECTL_LOG_FORMAT"] = "json"
    os.execv(sys.executable, words)  # noqa: S606  no shell is wanted


STOP = (
    """\
Usage: queuectl worker stop [options]

Asks every service that runs on this database now to stop: running jobs finish
(up to the shutdown grace), no new ones start. Waits until they are gone.

Options:
  --no-wait            only ask
  --timeout T          give up waiting after T (seconds, or 500ms, 10m, 2h)
"""
    + COMMON
)


def stop(context: Context, arguments: Arguments) -> int:
    """Drains all services alive; the answer is no if there is none."""
    timeout_s = arguments.seconds("--timeout")
    instances = alive(context)
    for instance in instances:
        context.store.stop(instance.id, now_ms=now_ms())
    waits = not arguments.flag("--no-wait")
    if waits:
        _wait_until_dead(context.database, instances, timeout_s)
    if context.json:
        put_json({"stopped" if waits else "asked": [instance.id for instance in instances]})
    elif not instances:
        say(f"queuectl: no service runs on {context.database}")
    else:
        told = "stopped" if waits else "is asked to stop"
        put("\n".join(f"{instance.id} (pid {instance.pid}) {told}" for instance in instances))
    return Exit.DONE if instances else Exit.NO


def _wait_until_dead(database: str, instances: list[Instance], timeout_s: float | None) -> None:
    deadline_s = None if timeout_s is None else monotonic_s() + timeout_s
    for instance in instances:
        left_s = None if deadline_s is None else deadline_s - monotonic_s()
        try:
            instance_lock.wait_until_dead(database, instance.id, left_s)
        except WaitTimeoutError:
            told = f"{instance.id} (pid {instance.pid}) was asked to stop and still runs"
            msg = f"{told} after {short_duration(timeout_s or 0)}"
            raise WaitTimeoutError(msg) from None


LIST = (
    """\
Usage: queuectl worker list [options]

The services that run on this database, their workers, and what each is running
since when.

Options:
"""
    + COMMON
)

WORKER_COLUMNS = (
    Column("JOB", 16),
    Column("WORKER", 6, right=True),
    Column("PID", 7, right=True),
    Column("FOR", 7, right=True),
    Column("COMMAND", 0),
)


def list_(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands are called alike
    """Prints the services that are alive."""
    instances = alive(context)
    workers = context.store.workers()
    if context.json:
        from queued.ctl.json_records import instance_record

        own = ([w for w in workers if w.instance == instance.id] for instance in instances)
        put_json([instance_record(*pair) for pair in zip(instances, own, strict=True)])
    elif instances:
        for instance in instances:
            put("\n".join(_service_lines(instance, workers, now_ms(), width_here())))
    else:
        say("no service runs (start one with: queuectl worker start)")
    return Exit.DONE


def alive(context: Context) -> list[Instance]:
    """Returns the services of which a process lives."""
    return [
        instance
        for instance in context.store.instances()
        if instance_lock.is_alive(context.database, instance.id)
    ]


def _service_lines(
    instance: Instance, workers: Sequence[WorkerStatus], now: int, width: int
) -> Iterator[str]:
    stopping = ", stopping" if instance.stop_requested_ms else ""
    yield f"{instance.id}: pid {instance.pid}, queued {instance.version}{stopping}"
    yield f"  on {instance.host} since {iso(instance.started_ms)}"
    yield heading(WORKER_COLUMNS, width)
    for worker in workers:
        if worker.instance == instance.id:
            yield from row(WORKER_COLUMNS, _worker_cells(worker, now), width)


def _worker_cells(worker: WorkerStatus, now: int) -> tuple[str, ...]:
    place = (str(worker.worker), str(worker.pid))
    if worker.job is None or worker.since_ms is None:
        return ("-", *place, "", "idle")
    since = short_duration((now - worker.since_ms) / 1000)
    return (worker.job, *place, since, worker.command or "")
