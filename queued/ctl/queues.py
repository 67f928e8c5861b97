"""The commands queue list, show, set, clear and remove."""

from collections.abc import Iterator, Sequence

from queued.core import queue_names, rates
from queued.core.errors import ConflictError, Exit, UsageError
from queued.core.model import ENDED, Label, State
from queued.core.records import JobFilter, Queue
from queued.core.times import iso, now_ms, short_duration
from queued.ctl.arguments import COLOR_OPTION, COMMON, WATCH_OPTION, Arguments
from queued.ctl.batches import Change, Found, Verb, change_all, jobs_text, print_dry_run
from queued.ctl.context import Context
from queued.ctl.queue_view import COLUMNS, QueueView, view_of, views_of
from queued.ctl.render import print_change, print_json, print_out
from queued.ctl.table import colored, heading, key_value_lines, row_lines, table_width, uses_color

LIST = (
    """\
Usage: queuectl queue list [options] [--] [QUEUES...]

Lists the queues that have jobs or settings of their own: all, or those that are
named. mail* names all that begin so, and -slow, after --, leaves a queue out.
STATE is open, full (its limit of running jobs or its rate is reached), paused,
suspended (paused, and the running jobs are frozen), or draining.

Options:
  -n, --limit N        only the first N
"""
    + COLOR_OPTION
    + WATCH_OPTION
    + COMMON
    + """
Examples:
  queuectl queue list
  queuectl queue list -- 'mail*' -mail-slow
"""
)


def list_(context: Context, arguments: Arguments) -> int:
    """Prints the queues."""
    words, limit = arguments.texts("QUEUES"), arguments.integer("--limit", 1)
    chosen = [view for view in views_of(context) if queue_names.chosen(words, view.queue.name)]
    views = chosen[:limit]
    if context.json:
        print_json([view.record() for view in views])
        return Exit.DONE
    width, color = table_width(), uses_color(arguments.text("--color"))
    print_out(heading(COLUMNS, width))
    for view in views:
        lines = "\n".join(row_lines(COLUMNS, view.cells(), width))
        print_out(colored(lines, view.state) if color else lines)
    return Exit.DONE


SHOW = (
    """\
Usage: queuectl queue show [options] QUEUE

Shows the settings of a queue and the number of its jobs.
"""
    + COMMON
    + """
Exit code 3: there is no such queue.

Examples:
  queuectl queue show mail
"""
)


def show(context: Context, arguments: Arguments) -> int:
    """Prints one queue. Raises NotFoundError."""
    view = view_of(context, arguments.text("QUEUE") or "")
    if context.json:
        print_json(view.record())
    else:
        print_out("\n".join(key_value_lines(dict(_fields(view)), table_width())))
    return Exit.DONE


def _fields(view: QueueView) -> Iterator[tuple[str, str]]:
    queue = view.queue
    yield "queue", queue.name
    yield "state", view.state
    if queue.paused_ms is not None:
        reason = f": {queue.paused_reason}" if queue.paused_reason else ""
        yield "paused", f"by {queue.paused_by} at {iso(queue.paused_ms)}{reason}"
    if queue.suspended_ms is not None:
        yield "suspended", f"since {iso(queue.suspended_ms)}: running jobs are frozen"
    if queue.draining_ms is not None:
        yield "draining", f"since {iso(queue.draining_ms)}"
    limit = queue.concurrency
    yield "concurrency", "unlimited" if limit is None else f"{limit}, of which {view.used} in use"
    if view.starts is not None:
        yield "rate", view.starts
    if queue.note is not None:
        yield "note", queue.note
    yield "priority", str(queue.priority)
    yield "weight", str(queue.weight)
    yield "defaults", queue.defaults if queue.defaults != "{}" else "-"
    if view.oldest_s is not None:
        yield "oldest ready", short_duration(view.oldest_s)
    yield "jobs", ", ".join(f"{view.counts.get(Label(state), 0)} {state}" for state in State)


SET = (
    """\
Usage: queuectl queue set [options] [--default FIELD=VALUE]... QUEUE

Changes settings of a queue, also of one that has no jobs yet. Services apply
them at once; running jobs go on.

Options:
  --concurrency N      how many of its jobs may run at once, over all services,
                       or unlimited; 0: none. A job with slots counts as many
  --rate N/TIME        how many of its jobs may start in any interval of this
                       length, over all services: 10/minute, 5/30s, or unlimited
  --priority N         jobs of a queue with a higher priority start first (0)
  --weight N           its share of the starts beside queues of equal priority
                       (1)
  --note TEXT          a line of text, for people; '' removes it
  --default FIELD=VALUE  a field that new jobs of the queue get if they do not
                       have it: timeout=5m; `timeout=` removes it
"""
    + COMMON
    + """
Examples:
  queuectl queue set mail --concurrency 2 --weight 3
  queuectl queue set api --rate 100/hour
  queuectl queue set video --default timeout=2h --default nice=10
"""
)


def set_(context: Context, arguments: Arguments) -> int:
    """Changes settings of a queue. Raises UsageError."""
    from queued.core.field_checks import queue

    name = queue("QUEUE", arguments.text("QUEUE"))
    changes: dict[str, object] = {}
    if (limit := arguments.text("--concurrency")) is not None:
        unlimited = limit == "unlimited"
        changes["concurrency"] = None if unlimited else arguments.integer("--concurrency", 0, _MOST)
    if (rate := arguments.text("--rate")) is not None:
        found = None if rate == "unlimited" else rates.parse(rate)
        changes["rate_starts"], changes["rate_ms"] = found or (None, None)
    if (priority := arguments.integer("--priority", -_MOST, _MOST)) is not None:
        changes["priority"] = priority
    if (weight := arguments.integer("--weight", 1, _MOST)) is not None:
        changes["weight"] = weight
    if (note := arguments.line("--note")) is not None:
        changes["note"] = note or None
    if words := arguments.texts("--default"):
        from queued.core.queue_defaults import changed

        changes["defaults"] = changed(_stored(context, name).defaults, words)
    if not changes:
        msg = "give what to set: --concurrency, --rate, --priority, --weight, --note or --default"
        raise UsageError(msg)
    context.store.queues.change(name, **changes)
    return show(context, arguments)


_MOST = 1_000_000


def _stored(context: Context, name: str) -> Queue:
    """Returns what users have set for a queue."""
    return next((one for one in context.store.queues.all() if one.name == name), Queue(name))


CLEAR = (
    """\
Usage: queuectl queue clear [options] QUEUE

Cancels the waiting jobs of a queue. Running jobs go on.

Options:
  --dry-run            print the ids of these jobs and change nothing
  --yes                needed if jobs wait; without it they are counted
"""
    + COMMON
    + """
Exit code 2: jobs wait and --yes is missing.

Examples:
  queuectl queue clear mail --yes
"""
)


def clear(context: Context, arguments: Arguments) -> int:
    """Cancels the jobs that wait. Raises UsageError, which counts them, if --yes is missing."""
    view = view_of(context, arguments.text("QUEUE") or "")
    if arguments.flag("--dry-run"):
        return _dry_run(context, JobFilter((Label.PENDING,), queue=view.queue.name), "cancelled")
    if view.pending and not arguments.flag("--yes"):
        wait, them = ("waits", "it") if view.pending == 1 else ("wait", "them")
        told = f"{jobs_text(view.pending)} of {view.queue.name} {wait}"
        msg = f"{told}; to cancel {them}, add --yes"
        raise UsageError(msg)
    count = _cancel_waiting(context, view.queue.name)
    record = {"queue": view.queue.name, "cancelled": count}
    return print_change(f"{jobs_text(count)} cancelled", None, record, as_json=context.json)


REMOVE = (
    """\
Usage: queuectl queue remove [options] QUEUE

Removes a queue: its settings, and with --yes its jobs with their history and
output. A later job with the name makes the queue again, without settings.

Options:
  --dry-run            print the ids of its jobs and change nothing
  --yes                remove its jobs, too
"""
    + COMMON
    + """
Exit code 2: the queue has jobs and --yes is missing; 4: a job of it runs.

Examples:
  queuectl queue remove mail --yes
"""
)


def remove(context: Context, arguments: Arguments) -> int:
    """Removes a queue. Raises UsageError, or ConflictError if a job of it runs."""
    view = view_of(context, arguments.text("QUEUE") or "")
    name, count = view.queue.name, sum(view.counts.get(Label(state), 0) for state in State)
    if name == "default":
        msg = "the queue default cannot be removed"
        raise UsageError(msg)
    if view.running:
        runs = "runs" if view.running == 1 else "run"
        msg = f"{jobs_text(view.running)} of {name} still {runs}: cancel or wait"
        raise ConflictError(msg)
    if arguments.flag("--dry-run"):
        return _dry_run(context, JobFilter(queue=name), "deleted")
    if count and not arguments.flag("--yes"):
        msg = f"{name} has {jobs_text(count)}; to delete them, too, add --yes"
        raise UsageError(msg)
    if count:
        _delete_jobs(context, name)
        context.changed = count  # not those twice that waited
    context.store.queues.remove(name)
    told = f"{name} removed" + (f" with {jobs_text(count)}" if count else "")
    record = {"queue": name, "removed": True, "jobs": count}
    return print_change(told, None, record, as_json=context.json)


def _dry_run(context: Context, wanted: JobFilter, participle: str) -> int:
    ids = [job.id for job in context.store.list(wanted)]
    return print_dry_run(context, "ids", ids, participle)


def _cancel_waiting(context: Context, name: str) -> int:
    def change(jobs: Sequence[int], wanted: JobFilter) -> tuple[int, bool]:
        return len(context.store.cancel_all(jobs, wanted, now_ms=now_ms())), True

    waiting = (Label.PENDING,)
    return _change_all(context, name, Verb("cancel", "cancelled", waiting, waiting), change)


def _delete_jobs(context: Context, name: str) -> None:
    _cancel_waiting(context, name)
    verb = Verb("delete", "deleted", ENDED, ENDED)
    _change_all(context, name, verb, context.store.purge)


def _change_all(context: Context, name: str, verb: Verb, change: Change) -> int:
    """Changes the jobs of a queue that have the states of the verb; returns how many."""
    wanted = JobFilter(labels=verb.default, queue=name, now_ms=now_ms())
    jobs = {one: context.store.select(wanted._replace(labels=(one,))) for one in verb.default}
    return sum(change_all(verb, Found(context, wanted, jobs), change).values())
