"""The commands worker start, stop and list. A service is alive while it holds its lock file."""

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence

from queued.core.errors import ConflictError, Exit, NotFoundError, UsageError, WaitTimeoutError
from queued.core.labels import of_host, split
from queued.core.model import Instance
from queued.core.records import WorkerStatus
from queued.core.times import iso, monotonic_s, now_ms, short_duration
from queued.ctl.arguments import COMMON, WATCH_OPTION, Arguments
from queued.ctl.context import Context
from queued.ctl.live_services import command_pids, is_frozen, live_instances, say_no_service
from queued.ctl.render import escaped, print_err, print_json, print_out
from queued.ctl.table import Column, heading, row_lines, table_width
from queued.store import permissions
from queued.store.paths import is_url

START = (
    """\
Usage: queuectl worker start [options]

Runs jobs in this terminal until Ctrl+C, TERM or `queuectl worker stop`.

Options:
  --count N            how many jobs run at once (default: the setting workers)
  --labels LABELS      labels that jobs may require: gpu,zone=a; not related to
                       the labels of jobs (enqueue --label)
  --queues QUEUES      the queues that it serves: a,b*,-c (default: all)
  --background         detach from the terminal when the workers are ready
  --another            with --background: also if one runs on this host already
"""
    + COMMON.replace("print the result as JSON", "log as JSON lines")
    + """
Exit code 4: with --background, a service runs on this host already, and
--another is missing. Without --background it is one service more.

Examples:
  queuectl worker start --count 8
  queuectl worker start --background
"""
)


def start(context: Context, arguments: Arguments) -> int:
    """Replaces this process by `queued`, or starts it. Raises UsageError for a wrong count."""
    from queued.core.settings import SETTINGS

    most = int(SETTINGS["workers"].maximum)
    count, labels = arguments.integer("--count", 1, most), arguments.text("--labels")
    queues = arguments.text("--queues")
    # -P: Python does not import modules from the current directory.
    words = [sys.executable, "-P", "-m", "queued"]
    if is_url(named := context.named_database):
        os.environ["QUEUECTL_DB"] = named  # it may have a password
    else:
        words += ["--db", named]
    words += ["--config", context.conf] if context.conf else []
    words += ["--workers", str(count)] if count else []
    words += [] if labels is None else ["--labels", labels]
    words += [] if queues is None else ["--queues", queues]
    words += ["--background"] if arguments.flag("--background") else []
    if context.json:
        os.environ["QUEUECTL_LOG_FORMAT"] = "json"
    if arguments.flag("--background") and not arguments.flag("--another"):
        return _start_first(context, words)
    try:
        os.execv(sys.executable, words)  # noqa: S606  no shell is needed
    except OSError as error:
        error.filename = sys.executable
        raise


def _start_first(context: Context, words: list[str]) -> int:
    """Runs `queued` and returns its exit code. Raises ConflictError if a service runs already.

    The directory of the database is locked until the service is ready, so that of several programs
    that do this at once only one starts a service.
    """
    directory = os.path.dirname(context.engine.instance_files)
    permissions.make_directory(directory)
    with permissions.opened_directory(directory) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_err(f"queuectl: waiting for another program that has locked {directory}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _must_be_first(context)
        pid = os.posix_spawn(sys.executable, words, os.environ)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _must_be_first(context: Context) -> None:
    """Raises ConflictError if a service of this host runs: two are often a mistake."""
    try:
        running = live_instances(context)
        if context.engine.spans_hosts:
            running = [one for one in running if one.host == os.uname().nodename]
    except NotFoundError:
        return  # the service creates the database
    context.close()  # a process of the service must not share the open database
    if running:
        msg = f"a service runs on {context.database} already (pid {running[0].pid})"
        msg += "; to start one more, add --another"
        raise ConflictError(msg)


STOP = (
    """\
Usage: queuectl worker stop [options]

Stops every service that runs on this database: running jobs may finish within
the shutdown grace, and no new ones start. Waits until the services have ended.
If no service runs, the exit code is 0.

Options:
  --host NAME          only the services of this host
  --all-hosts          the services of all hosts, which is the default
  --no-wait            return at once
  --timeout T          stop waiting after T (seconds, or 90s, 1h30m)
"""
    + COMMON
    + """
Exit code 124: the time limit was reached, and a service still runs.

Examples:
  queuectl worker stop
  queuectl worker stop --timeout 1m
"""
)


def stop(context: Context, arguments: Arguments) -> int:
    """Asks all live services to stop, and waits for their end."""
    timeout_s = arguments.seconds("--timeout")
    host = arguments.text("--host")
    if host is not None and arguments.flag("--all-hosts"):
        msg = "give --host NAME or --all-hosts, not both"
        raise UsageError(msg)
    instances = live_instances(context) if context.engine.exists() else []
    instances = [one for one in instances if host in {None, one.host}]
    for instance in instances:
        context.store.stop(instance.id, now_ms=now_ms())
    waits = not arguments.flag("--no-wait")
    if waits:
        _wait_until_dead(context, instances, timeout_s)
    if context.json:
        print_json({"stopped" if waits else "asked": [instance.id for instance in instances]})
    elif not instances:
        where = "" if host is None else f" of the host {host}"
        print_err(f"queuectl: no service{where} runs on {context.database}")
    else:
        result = "stopped" if waits else "is stopping"
        print_out("\n".join(f"{each.id} (pid {each.pid}) {result}" for each in instances))
    return Exit.DONE


def _wait_until_dead(context: Context, instances: list[Instance], timeout_s: float | None) -> None:
    deadline_s = None if timeout_s is None else monotonic_s() + timeout_s
    for instance in instances:
        left_s = None if deadline_s is None else deadline_s - monotonic_s()
        if is_frozen(instance):
            told = f"the service {instance.id} (pid {instance.pid}) was stopped by a signal"
            print_err(f"queuectl: {told}; let it go on: kill -CONT {instance.pid}")
        try:
            context.engine.wait_until_dead(instance, left_s)
        except WaitTimeoutError:
            running = f"{instance.id} (pid {instance.pid}) is stopping and still runs"
            msg = f"timed out after {short_duration(timeout_s or 0)}: {running}"
            raise WaitTimeoutError(msg) from None


LIST = (
    """\
Usage: queuectl worker list [options]

Lists the services that run on this database, their workers, and the job that
each worker is running. CMD PID is the process of the command, or - where it is
not known, for example on another machine.

Options:
"""
    + WATCH_OPTION
    + COMMON
    + """
Examples:
  queuectl worker list
  queuectl worker list --json
"""
)

WORKER_COLUMNS = (
    Column("JOB", 16),
    Column("WORKER", 6, right=True),
    Column("PID", 7, right=True),
    Column("CMD PID", 7, right=True),
    Column("FOR", 7, right=True),
    Column("COMMAND", 0),
)


def list_(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Prints the live services."""
    instances = live_instances(context)
    all_workers = list(context.store.workers())
    workers: dict[str, list[tuple[WorkerStatus, int | None]]] = {}
    drained = context.store.drained_hosts()
    for instance in instances:
        pids = command_pids(context.engine.instance_files, instance.id)
        own = [worker for worker in all_workers if worker.instance == instance.id]
        workers[instance.id] = [(worker, pids.get(worker.token or 0)) for worker in own]
    if context.json:
        from queued.ctl.json_records import instance_record

        print_json([instance_record(instance, workers[instance.id]) for instance in instances])
    elif instances:
        for instance in instances:
            state = ", drained" if instance.host in drained else ""
            state = ", stopping" if instance.stop_requested_ms else state
            lines = _service_lines(instance, state, workers[instance.id], table_width())
            print_out("\n".join(lines))
    else:
        say_no_service(context)
    return Exit.DONE


def _service_lines(
    instance: Instance, state: str, workers: Sequence[tuple[WorkerStatus, int | None]], width: int
) -> Iterator[str]:
    now = now_ms()
    yield escaped(f"{instance.id}: pid {instance.pid}, queued {instance.version}{state}")
    given = sorted(split(instance.labels) - {of_host(instance.host)})
    has = f", labels {escaped(', '.join(given))}" if given else ""
    yield f"  on {escaped(instance.host)} since {iso(instance.started_ms)}{has}"
    yield heading(WORKER_COLUMNS, width)
    for worker, pid in workers:
        yield from row_lines(WORKER_COLUMNS, _worker_cells(worker, pid, now), width)


def _worker_cells(worker: WorkerStatus, pid: int | None, now: int) -> tuple[str, ...]:
    pids = (str(worker.worker), str(worker.pid), "-" if pid is None else str(pid))
    if worker.job is None or worker.since_ms is None:
        return ("-", *pids, "", "idle")
    since = short_duration((now - worker.since_ms) / 1000)
    return (worker.job, *pids, since, worker.command or "")
