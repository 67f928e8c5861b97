"""Which statements find the jobs of a filter, and in what order their rows are read.

Each engine has one test of a filter, the block `matches`, in statements that differ in the index:
all jobs, those in one state, completed ones, or those of an array. The rows of several states are
merged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from queued.core.model import PARTS_OF_PENDING, Label, State
from queued.core.records import JobFilter

Row = tuple[Any, ...]
Values = dict[str, Any]  # of a statement, by name
ReadPage = Callable[[str, Values], Sequence[Row]]  # runs a statement; the row number comes first

_PAGE = 500
_FIRST = -1
_LAST = 2**63 - 1


class Span(NamedTuple):
    """Which part of the rows to read: at most `limit`, newest first if `reverse`, after a row."""

    limit: int | None = None
    reverse: bool = False
    after: int | None = None


ALL = Span()


def matching(read: ReadPage, verb: str, wanted: JobFilter, span: Span = ALL) -> Iterator[Row]:
    """Yields the rows of the jobs that match, in the order of enqueueing or newest first."""
    streams = [
        _pages(read, verb + _suffix(label, wanted, reverse=span.reverse), values, span)
        for label, values in each_label(wanted).items()
    ]
    if len(streams) == 1:
        return streams[0]
    return islice(merge(*streams, key=itemgetter(0), reverse=span.reverse), span.limit)


def each_label(wanted: JobFilter) -> Mapping[Label | None, Values]:
    """Returns the values of `matches` for each label of the filter; without labels for None."""
    labels: Sequence[Label | None] = wanted.labels or (None,)
    return {label: _values(label, wanted) for label in labels}


def _values(label: Label | None, wanted: JobFilter) -> Values:
    return {
        "state": State.PENDING if label in PARTS_OF_PENDING else label,
        "label": label if label in PARTS_OF_PENDING else None,
        "queue": wanted.queue,
        "queues": [*wanted.queues] or None,
        "not_queues": [*wanted.not_queues] or None,
        "command": wanted.command,
        "priority": wanted.priority,
        "label_name": wanted.job_label and wanted.job_label[0],
        "label_value": wanted.job_label and wanted.job_label[1],
        "outcomes": [*wanted.outcomes] or None,
        "exit_code": wanted.exit_code,
        "schedule": wanted.schedule,
        "by": wanted.by,
        "array_id": wanted.array_id,
        "key": wanted.key,
        "since": wanted.since_ms,
        "before": wanted.before_ms,
        "now": wanted.now_ms,
    }


def _suffix(label: Label | None, wanted: JobFilter, *, reverse: bool) -> str:
    """Returns the end of a statement's name, which says by which index it reads."""
    path = {None: "", Label.COMPLETED: "_completed"}.get(label, "_state")
    path = path if wanted.array_id is None else "_array"
    return f"{path}_reverse" if reverse else path


def _pages(read: ReadPage, name: str, values: Values, span: Span) -> Iterator[Row]:
    """Yields the rows of a statement; between its pages no transaction is open."""
    after = span.after if span.after is not None else _LAST if span.reverse else _FIRST
    left = _LAST if span.limit is None else span.limit
    while left > 0 and (page := read(name, {**values, "after": after, "limit": min(left, _PAGE)})):
        yield from page
        after = page[-1][0]
        left -= len(page)
