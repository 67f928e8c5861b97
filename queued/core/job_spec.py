"""The fields of a job that a user can give: the range and meaning of each.

A payload is a decoded JSON object. Errors name the field, the values that it takes, and the value
that was given.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from queued.core import field_checks as check
from queued.core import labels
from queued.core.errors import UsageError
from queued.core.model import Array, NewJob
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import iso, now_ms, parse_when

if TYPE_CHECKING:
    from queued.core.job_options import JobOptions
    from queued.core.rates import Rate
    from queued.core.records import Job

_EXAMPLE = '{"command": "sleep 2"}'

READ_ONLY = frozenset(
    {
        *("state", "attempts", "runs", "next_run_at", "created_at", "updated_at"),
        *("last_error", "seq", "token", "stdin_bytes", "rerun_of"),
    }
)


class Field(NamedTuple):
    """One field of a payload. `check` returns the value to store or raises UsageError."""

    name: str
    check: Callable[[str, object], object]
    meaning: str
    option: bool = True  # kept in the job's options, not in a column of its own


def new_job(payload: object, *, may_expire: bool = False) -> NewJob:
    """Returns the job that `payload` describes. Raises UsageError.

    A job that would expire before it is due is refused, unless it `may_expire`.
    """
    if not isinstance(payload, dict):
        msg = f"a job is a JSON object such as {_EXAMPLE}, not {check.json_type(payload)}"
        raise UsageError(msg)
    for name in payload:
        _must_be_known(name)
    if payload.get("command") is None:
        msg = f"a job needs a command: {_EXAMPLE}"
        raise UsageError(msg)
    _must_have_key(payload)
    columns, options = checked(payload)
    if columns.get("key_rate"):
        columns.setdefault("key_limit", check.MAX_KEY_LIMIT)
    if columns.get("stdin"):
        options["stdin_bytes"] = len(columns["stdin"])
    job = NewJob(**columns, options=options_text(options))
    now = now_ms()
    if not may_expire:
        must_start_in_time(job.due_ms(now), job.expires_ms(now))
    return job


def must_start_in_time(due_ms: int, expires_ms: int | None) -> None:
    """Raises UsageError if a job expires before it is due."""
    if expires_ms is not None and expires_ms <= due_ms:
        msg = f"the job would expire ({iso(expires_ms)}) before it is due ({iso(due_ms)})"
        raise UsageError(msg)


def like(job: "Job", stdin: bytes) -> NewJob:
    """Returns a new job with the fields of a stored one, but those that say when it runs."""
    given = {name: value for name, value in job.options.given().items() if name != "deadline"}
    return NewJob(
        job.command,
        queue=job.queue,
        priority=job.priority,
        max_retries=job.max_retries,
        requires=labels.joined(job.requires),
        options=options_text({**given, "rerun_of": job.id}),
        slots=job.slots,
        unique_key=job.unique_key,
        unique_while=job.unique_while or "waiting",
        labels=options_text({**job.labels}) if job.labels else None,
        stdin=stdin,
        key=job.key,
        key_limit=job.key_limit,
        key_rate=job.key_rate,
    )


def checked(payload: dict[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the values of the columns and of the options of a job. Raises UsageError."""
    for one, other in (("run_at", "delay"), ("expires_at", "expires_in")):
        if payload.get(one) is not None and payload.get(other) is not None:
            msg = f"a job takes {one} or {other}, not both"
            raise UsageError(msg)
    values = {
        name: FIELDS[name].check(name, value)
        for name, value in payload.items()
        if value is not None
    }
    options = {name: value for name, value in values.items() if FIELDS[name].option}
    columns: dict[str, Any] = {
        _COLUMNS.get(name, name): values[name] for name in values.keys() - options.keys()
    }
    if (deadline := options.get("deadline")) is not None:
        given = columns.get("expires_at_ms")
        columns["expires_at_ms"] = min(ms for ms in (given, parse_when(deadline)) if ms is not None)
    return columns, options


def options_text(options: dict[str, object]) -> str:
    """Returns checked options as they are stored."""
    if not options:
        return "{}"
    import json  # 1.5 ms of queuectl's start, and most jobs have no options

    return json.dumps(options, sort_keys=True, ensure_ascii=False)


def stored_options(text: str) -> "JobOptions":
    """Decodes the options of a stored job. Raises ValueError if they are not valid options."""
    from queued.core.job_options import NO_OPTIONS, JobOptions

    if text == "{}":
        return NO_OPTIONS
    import json

    try:
        given = json.loads(text)
        checked = {name: FIELDS[name].check(name, value) for name, value in given.items()}
        return JobOptions(**{name: _frozen(value) for name, value in checked.items()})
    except (AttributeError, KeyError, TypeError, UsageError) as error:
        msg = f"queued did not store these options: {error}"
        raise ValueError(msg) from None


def _frozen(value: Any) -> Any:  # noqa: ANN401 - each option has its own type
    return tuple(value) if isinstance(value, list) else value


def _array(name: str, value: object) -> Array:
    from queued.core.index_ranges import array  # few jobs are arrays

    return array(name, value)


def _rate(name: str, value: object) -> "Rate":
    from queued.core import rates  # few jobs have one

    if not isinstance(value, str):
        raise check.refusal(name, 'a text such as "10/minute"', value)
    return check.parsed(name, rates.parse, value)


def _must_have_key(payload: dict[str, object]) -> None:
    for name, key in _NEEDED_KEYS.items():
        if payload.get(name) is not None and payload.get(key) is None:
            msg = f"{name} needs {'an' if key == 'array' else 'a'} {key}"
            raise UsageError(msg)


def _must_be_known(name: str) -> None:
    if name in READ_ONLY:
        msg = f"{shorten(name)} cannot be set"
    elif name in FIELDS:
        return
    else:
        known = [one for one in FIELDS if one not in READ_ONLY]
        hint = did_you_mean(name, known) or "; see the fields in: queuectl enqueue --help"
        msg = f"unknown field {shorten(name, 30)}{hint}"
    raise UsageError(msg)


FIELDS = {
    field.name: field
    for field in (
        Field("id", check.job_id, "the job's id; generated if not given", option=False),
        Field("command", check.command, "the command that `sh -c` runs", option=False),
        Field("queue", check.queue, "the queue (default)", option=False),
        Field(
            "priority", check.whole(-1_000_000, 1_000_000), "higher starts first (0)", option=False
        ),
        Field("run_at", check.when, "not before this time", option=False),
        Field("delay", check.delay, "not before this duration from now", option=False),
        Field("hold", check.flag, "not before it is released", option=False),
        Field("expires_at", check.when, "not started from this time on", option=False),
        Field("expires_in", check.delay, "not started after this duration from now", option=False),
        Field("deadline", check.moment, "not running after this time"),
        Field("after", check.job_ids, "not before these jobs have completed", option=False),
        Field("after_any", check.job_ids, "not before these jobs have ended", option=False),
        Field("after_fail", check.job_ids, "not before these jobs are dead", option=False),
        Field("array", _array, "a job for each of these indexes: 1-100%10", option=False),
        Field(
            "after_index",
            check.job_ids,
            "each job of the array not before that of these arrays with its index has completed",
            option=False,
        ),
        Field("max_retries", check.whole(0, 1_000_000), "runs in all if each fails", option=False),
        Field("requires", labels.required, "labels that its service must have", option=False),
        Field("slots", check.whole(1, 1_000_000), "places of its queue's limit (1)", option=False),
        Field("unique_key", check.key, "no other job with this key is added", option=False),
        Field(
            "unique_while",
            check.choice("waiting", "active", "any"),
            "while this job waits, is active (waits or runs), or exists at all (active)",
            option=False,
        ),
        Field("unique_for", check.delay, "at most for this duration from now", option=False),
        Field("key", check.key, "few jobs with the same key run at once", option=False),
        Field(
            "key_limit",
            check.whole(1, check.MAX_KEY_LIMIT),
            "how many (1; with key_rate 1000)",
            option=False,
        ),
        Field("key_rate", _rate, "how many start in an interval: 10/minute", option=False),
        Field(
            "on_conflict",
            check.choice("wait", "discard"),
            "what it does if its key is in use (wait)",
            option=False,
        ),
        Field("labels", check.job_labels, "names and texts, for people and filters", option=False),
        Field("note", check.note, "a line of text, for people"),
        Field("backoff_base", check.number(1, 1e300), "a retry waits base ** attempts seconds"),
        Field("backoff_max", check.seconds(check.YEAR_S), "the longest wait before a retry"),
        Field("backoff_jitter", check.number(0, 1), "changes the wait at random by this fraction"),
        Field(
            "timeout", check.seconds(100 * check.YEAR_S), "how long a run may take (0: no limit)"
        ),
        Field("warn_signal", check.warning, "a signal before a time limit: USR1@60"),
        Field("kill_grace", check.seconds(86_400), "from TERM to KILL"),
        Field("no_retry_on", check.exit_codes, "exit codes that make the job dead at once"),
        Field("cancel_on", check.exit_codes, "exit codes that cancel the job"),
        Field("defer_on", check.exit_codes, "exit codes that do not count as failed"),
        Field("defer_delay", check.seconds(check.YEAR_S), "the first wait after such an exit code"),
        Field("on_dead", check.hook, "a command to enqueue if the job becomes dead (empty: none)"),
        Field(
            "on_completed", check.hook, "a command to enqueue if the job completes (empty: none)"
        ),
        Field("stdin", check.stdin, "the standard input of each run", option=False),
        Field("stdin_bytes", check.whole(1, check.MAX_STDIN_BYTES), "the size of stdin"),
        Field("rerun_of", check.word, "the job that this one repeats"),
        Field("leave_children", check.flag, "processes that outlive the command stay alive"),
        Field("split", check.flag, "stdout and stderr are kept apart"),
        Field("output_limit", check.whole(0, 1_073_741_824), "bytes of each stream that are kept"),
        Field("env", check.env, "variables added to the environment"),
        Field("cwd", check.directory, "the directory to run in"),
        Field("umask", check.umask, "the file mode mask"),
        Field("nice", check.whole(-20, 19), "the niceness"),
        Field("limits", check.limits, "resource limits: memory, cpu, files, processes"),
    )
}

_NEEDED_KEYS = {"unique_while": "unique_key", "unique_for": "unique_key"}
_NEEDED_KEYS |= {"key_limit": "key", "on_conflict": "key", "key_rate": "key"}
_NEEDED_KEYS |= {"after_index": "array"}
_COLUMNS = {"run_at": "run_at_ms", "delay": "delay_ms", "unique_for": "unique_for_ms"}
_COLUMNS |= {"expires_at": "expires_at_ms", "expires_in": "expires_in_ms"}
