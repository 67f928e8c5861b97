"""The command status: counts of jobs for people, and a check for monitoring programs."""

from collections.abc import Iterator
from typing import NamedTuple

from queued.core.errors import Exit, UsageError
from queued.core.model import PARTS_OF_PENDING, Label, State
from queued.core.records import Summary
from queued.core.times import now_ms, short_duration
from queued.ctl.arguments import COMMON, WATCH_OPTION, Arguments
from queued.ctl.context import Context
from queued.ctl.live_services import BlockReasons, live_instances, say_no_service, some_of
from queued.ctl.render import print_json, print_out
from queued.ctl.table import Column, heading, row_lines, table_width

STATUS = (
    """\
Usage: queuectl status [options]

Prints the number of jobs in each state, in all and by queue, the number of
workers, and how long the oldest job that is ready to run has been waiting. Of a
queue with a limit it shows the places in use and the limit: 2/3.

Options:
  --check              print one line for monitoring; exit code 1 if no service
                       runs, or if a job has been waiting too long
  --max-age T          for --check: how long the oldest ready job may have been
                       waiting (90s, 5m, 1h)
"""
    + WATCH_OPTION
    + COMMON
    + """
Examples:
  queuectl status --watch
  queuectl status --check --max-age 5m
"""
)


class _Report(NamedTuple):
    """The figures that the command prints."""

    summary: Summary
    workers: int
    services: int
    now_ms: int
    blocked: list[str]  # why ready jobs are not claimed
    suspended: int  # running jobs that are frozen
    places: dict[str, str]  # of limited queues, see `BlockReasons.places`

    @property
    def oldest_s(self) -> float | None:
        """Returns for how long the oldest ready job has been waiting; None if none is ready."""
        due = self.summary.oldest_due_ms
        return None if due is None else max(0, self.now_ms - due) / 1000


def status(context: Context, arguments: Arguments) -> int:
    """Prints how many jobs and workers there are, or checks them."""
    max_age_s = arguments.seconds("--max-age")
    if arguments.flag("--check"):
        return _check(context, max_age_s)
    if max_age_s is not None:
        msg = "--max-age is the limit of --check; give both"
        raise UsageError(msg)
    report = _report(context)
    if context.json:
        print_json(_record(report))
    else:
        print_out("\n".join(_lines(report)))
        if not report.services:
            say_no_service(context)
    return Exit.DONE


def _report(context: Context) -> _Report:
    now = now_ms()
    summary = context.store.status(now_ms=now)
    instances = {instance.id for instance in live_instances(context)}
    workers = sum(worker.instance in instances for worker in context.store.workers())
    reasons = BlockReasons(context)
    blocked = set(map(reasons.of, context.store.required_now()))
    blocked |= {reasons.of_queue(name) for name, counts in summary.queues.items() if _ready(counts)}
    blocked -= {""}
    running = {name: counts[Label.PROCESSING] for name, counts in summary.queues.items()}
    suspended = sum(running.get(name, 0) for name in reasons.suspended)
    return _Report(
        summary, workers, len(instances), now, sorted(blocked), suspended, reasons.places
    )


def _ready(counts: dict[Label, int]) -> int:
    """Returns how many jobs of a queue are ready; `pending` is the whole state."""
    return counts[Label.PENDING] - sum(counts[label] for label in PARTS_OF_PENDING)


def _check(context: Context, max_age_s: float | None) -> int:
    report = _report(context)
    fault = _fault(context, report, max_age_s)
    if context.json:
        print_json({"ok": not fault, "fault": fault, **_record(report)})
    else:
        print_out(fault or _in_order(report))
    return Exit.NO if fault else Exit.DONE


def _fault(context: Context, report: _Report, max_age_s: float | None) -> str | None:
    """Returns the fault that `--check` reports, in one line; None if there is no fault."""
    if not report.services:
        return f"no service runs on {context.database}"
    age_s = report.oldest_s
    if max_age_s is None or age_s is None or age_s <= max_age_s:
        return None
    limit = short_duration(max_age_s)
    waits = f"the oldest ready job has been waiting {short_duration(age_s)}, more than {limit}"
    return "; ".join([waits, *some_of(report.blocked)])


def _in_order(report: _Report) -> str:
    age_s = report.oldest_s
    waits = "no job is ready and waiting"
    if age_s is not None:
        waits = f"the oldest ready job has been waiting {short_duration(age_s)}"
    served = f"{_plural(report.workers, 'worker')} in {_plural(report.services, 'service')}"
    return "; ".join([f"ok: {served}", waits, *some_of(report.blocked)])


def _record(report: _Report) -> dict[str, object]:
    return {
        **{str(label): count for label, count in report.summary.counts.items()},
        "suspended": report.suspended,
        "completed_last_minute": report.summary.completed_lately,
        "workers": report.workers,
        "instances": report.services,
        "oldest_age": report.oldest_s,
        "waiting_reasons": report.blocked,
        "queues": report.summary.queues,
    }


def _lines(report: _Report) -> Iterator[str]:
    counts, lately = report.summary.counts, report.summary.completed_lately
    remarks = {
        Label.PENDING: "in all, of which",
        Label.SCHEDULED: "are not due yet",
        Label.HELD: "wait until they are released",
        Label.BLOCKED: "wait for other jobs or their key",
        Label.FAILED: "wait for a retry",
        Label.PROCESSING: f"{report.suspended} suspended" if report.suspended else "",
        Label.COMPLETED: f"{lately} in the last minute" if lately else "",
    }
    for label in Label:
        if label in {Label.HELD, Label.BLOCKED} and not counts[label]:
            continue
        name = f"  {label}" if label in PARTS_OF_PENDING else label
        yield _count(name, str(counts[label]), remarks.get(label, ""))
    services = f"in {_plural(report.services, 'service')}" if report.services else ""
    yield _count("workers", str(report.workers), services)
    if report.oldest_s is not None:
        yield _count(
            "oldest ready", short_duration(report.oldest_s), "; ".join(some_of(report.blocked))
        )
    if len(report.summary.queues) > 1:
        yield ""
        yield from _queue_lines(report)


def _count(name: str, count: str, remark: str = "") -> str:
    return f"{name:<12}{count:>9}  {remark}".rstrip()


def _plural(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


_QUEUE_COLUMNS = (*(Column(state.upper(), 10, right=True) for state in State), Column("QUEUE", 0))


def _queue_lines(report: _Report) -> Iterator[str]:
    width = table_width()
    yield heading(_QUEUE_COLUMNS, width)
    for queue, counts in report.summary.queues.items():
        cells = {state: str(counts[Label(state)]) for state in State}
        cells[State.PROCESSING] = report.places.get(queue, cells[State.PROCESSING])
        yield from row_lines(_QUEUE_COLUMNS, [*cells.values(), queue], width)
