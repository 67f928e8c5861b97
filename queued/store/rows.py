"""Makes records of rows for queuectl; every engine selects the same columns."""

from collections.abc import Iterable
from typing import Any

from queued.core import labels
from queued.core.errors import ConflictError
from queued.core.job_options import NO_OPTIONS, JobOptions
from queued.core.model import PARTS_OF_PENDING, Label, Outcome, State
from queued.core.records import Attempt, Job, Summary

Row = tuple[Any, ...]


def key_conflict(name: str, key: str, holder: str) -> ConflictError:
    """Returns the error of a retry of a job whose unique key another job holds."""
    return ConflictError(f"{name}: {holder} has its unique key {key!r}; nothing was retried")


def job(row: Row) -> Job:
    """Returns the job of a row. Raises ValueError if another program made the row invalid."""
    found = Job(*row)
    if row[16] is None:
        msg = f"what the job {found.id} requires is missing"
        raise ValueError(msg)
    try:
        return found._replace(
            options=_options(row[5]),
            requires=labels.split(row[16]),
            state=State(found.state),
            label=Label(found.label),
            labels=_labels(row[23]),
        )
    except ValueError as error:
        msg = f"the job {found.id}: {error}"
        raise ValueError(msg) from None


def _labels(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    import json

    return {name: str(value) for name, value in json.loads(text).items()}


def _options(text: str) -> JobOptions:
    if text == "{}":
        return NO_OPTIONS
    from queued.core.job_spec import stored_options  # it takes a tenth of the time of a short list

    return stored_options(text)


def attempt(row: Row) -> Attempt:
    """Returns the run of a row. Raises ValueError if another program made the row invalid."""
    return Attempt(*row)._replace(outcome=Outcome(row[5]) if row[5] else None)


def counts(found: Iterable[Row]) -> dict[Label, int]:
    """Returns the numbers of jobs by label, without labels that another program has written."""
    numbers: dict[str, int] = dict(found)
    return {label: numbers[label] for label in Label if label in numbers}


def summary(
    counted: Iterable[Row], overdue: Iterable[Row], completed: int, oldest_due_ms: int | None
) -> Summary:
    """Returns the summary of counts by queue and label, and of overdue jobs by queue.

    Leaves out labels that another program has written.
    """
    queues: dict[str, dict[Label, int]] = {}
    for name, label, count in counted:
        numbers = queues.setdefault(name, dict.fromkeys(Label, 0))
        if label in numbers:
            numbers[label] += count
    for numbers in queues.values():
        # Here `pending` is the whole state, of which other labels are parts.
        numbers[Label.PENDING] += sum(numbers[part] for part in PARTS_OF_PENDING)
    for name, count in overdue:
        if name in queues:
            queues[name][Label.SCHEDULED] -= count
    return Summary(queues, completed, oldest_due_ms)
