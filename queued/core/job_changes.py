"""Changes of the fields of a job: their check, and what they make of a job."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from queued.core.errors import UsageError
from queued.core.job_spec import FIELDS, checked, must_start_in_time, options_text, stored_options
from queued.core.model import NewJob
from queued.core.times import now_ms, parse_when

# An empty hook is none, not that of a setting.
_NOT_REMOVED = {"command", "on_dead", "on_completed"}


class JobChanges(NamedTuple):
    """New values of fields of a pending job; None leaves a field as it is.

    `options` and `labels` are JSON objects that are merged into those of the job, objects in the
    options, too; null removes a member. `any_state`: the changes have no effect on runs, so that
    the job need not be pending.
    """

    command: str | None = None
    queue: str | None = None
    priority: int | None = None
    run_at_ms: int | None = None
    delay_ms: int | None = None
    max_retries: int | None = None
    slots: int | None = None
    key_limit: int | None = None
    requires: str | None = None
    expires_at_ms: int | None = None
    expires_in_ms: int | None = None
    labels: str | None = None
    options: str = "{}"
    any_state: bool = False

    def columns(self, now_ms: int) -> dict[str, str | int | None]:
        """Returns the columns, if the job is changed at `now_ms`."""
        due_ms = self.run_at_ms if self.delay_ms is None else now_ms + self.delay_ms
        expires_in_ms = None if self.expires_in_ms is None else now_ms + self.expires_in_ms
        expiries = [ms for ms in (self.expires_at_ms, expires_in_ms) if ms is not None]
        values = self._asdict() | {"next_run_at": due_ms, "expires_at": min(expiries, default=None)}
        return {name: value for name, value in values.items() if not name.endswith("_ms")}

    def lane(self, queue: str, requires: str) -> NewJob:
        """Returns a job of the lane to which the changes move a job of another lane."""
        required = requires if self.requires is None else self.requires
        return NewJob("", queue=self.queue or queue, requires=required)


def job_changes(
    payload: dict[str, object], labels: Sequence[str] = (), variables: Sequence[str] = ()
) -> JobChanges:
    """Returns the changes of a job that `payload` describes, without some labels and variables.

    An empty text removes an option, if it has no meaning of its own. Raises UsageError.
    """
    # A deadline has changed the time of expiry, so that the one before it is not known.
    removed = {one for one in emptied(payload) if FIELDS[one].option and one != "deadline"}
    columns, options = checked({name: payload[name] for name in payload.keys() - removed})
    options |= dict.fromkeys(removed)
    if variables:
        options["env"] = {**(options.get("env") or {}), **dict.fromkeys(variables)}
    if labels:
        given = json.loads(columns.get("labels") or "{}")
        columns["labels"] = options_text(given | dict.fromkeys(labels))
    any_state = payload.keys() <= {"labels", "note"} and not variables
    return JobChanges(**columns, options=options_text(options), any_state=any_state)


def emptied(payload: Mapping[str, object]) -> set[str]:
    """Returns the names of the fields that are to be removed, because an empty text was given."""
    given = {name for name, value in payload.items() if value in ("", [""])}
    return given - _NOT_REMOVED


def changed(job: NewJob, changes: JobChanges) -> NewJob:
    """Returns a job that is not stored yet with changes. Raises UsageError if they do not fit."""
    given = {name: value for name, value in changes._asdict().items() if value is not None}
    del given["any_state"]
    given["options"] = _merged(job.options, changes.options)
    if changes.labels is not None:
        given["labels"] = _merged(job.labels or "{}", changes.labels)
    new, now = job._replace(**given), now_ms()
    must_fit(changes, new.options, new.due_ms(now), new.expires_ms(now), new.key)
    return new


def must_fit(
    changes: JobChanges, options: str, due_ms: int, expires_ms: int | None, key: str | None
) -> None:
    """Raises UsageError if a changed job with these values is not valid as a whole."""
    if changes.key_limit is not None and key is None:
        what = "a job without a key, and not of an array with %N"
        msg = f"key_limit does not fit {what}; nothing was changed"
        raise UsageError(msg)
    try:
        deadline = stored_options(options).deadline
    except ValueError as error:
        msg = f"the changes do not fit the job ({error}); nothing was changed"
        raise UsageError(msg) from None
    times = (changes.run_at_ms, changes.delay_ms, changes.expires_at_ms, changes.expires_in_ms)
    if expires_ms is not None and any(ms is not None for ms in times):
        must_start_in_time(due_ms, expires_ms)
        if deadline is not None and expires_ms > parse_when(deadline):
            msg = f"the job has the deadline {deadline}; change it, too"
            raise UsageError(msg)


def _merged(text: str, changes: str) -> str:
    """Returns a JSON object with the members of another one; objects are merged, null removes."""
    found = json.loads(text)
    for name, value in json.loads(changes).items():
        given = {**found.get(name, {}), **value} if isinstance(value, dict) else {}
        members = {key: one for key, one in given.items() if one is not None}
        found[name] = members if isinstance(value, dict) else value
    return options_text({name: value for name, value in found.items() if value is not None})
