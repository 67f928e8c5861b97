"""What a queue says about new jobs: whether it takes any, and the fields that they get from it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from queued.core.errors import ConfigError, ConflictError, UsageError
from queued.core.job_spec import FIELDS, READ_ONLY, options_text
from queued.core.model import NewJob
from queued.core.records import Queue
from queued.core.suggestions import did_you_mean, shorten


def admitted(jobs: Iterable[NewJob], queues: Mapping[str, Queue]) -> list[NewJob]:
    """Returns the jobs with the defaults of their queues; a field that a job has stays.

    Raises ConflictError if one of the queues is draining, ConfigError if its defaults are invalid.
    """
    return [_admitted(job, queues[job.queue]) if job.queue in queues else job for job in jobs]


def _admitted(job: NewJob, queue: Queue) -> NewJob:
    if queue.draining_ms is not None:
        told = f"the queue {queue.name} is draining and takes no new jobs; nothing was changed"
        msg = f"{told} (see: queuectl queue resume {queue.name})"
        raise ConflictError(msg)
    if queue.defaults == "{}":
        return job
    defaults = _checked(queue)
    most = defaults.pop("max_retries", None)
    return job._replace(
        max_retries=most if job.max_retries is None else job.max_retries,
        options=options_text({**defaults, **json.loads(job.options)}),
    )


def _checked(queue: Queue) -> dict[str, Any]:
    """Returns the defaults. Raises ConfigError for those that another program made invalid."""
    try:
        given = json.loads(queue.defaults)
        for name in given:
            _must_be_possible(name)
        return {name: FIELDS[name].check(name, value) for name, value in given.items()}
    except (UsageError, ValueError, RecursionError) as error:
        raise unreadable(queue.name, error) from None


def unreadable(name: str, error: Exception) -> ConfigError:
    """Returns the error of new jobs of a queue whose row another program made invalid."""
    told = f"the settings of the queue {name} cannot be read: {error}; nothing was changed"
    return ConfigError(f"{told} (see: queuectl queue show {name})")


def changed(defaults: str, words: Iterable[str]) -> str:
    """Returns the defaults of a queue after changes such as `timeout=5m`; `timeout=` removes one.

    Raises UsageError.
    """
    fields = json.loads(defaults)
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if not equals:
            msg = f"--default takes FIELD=VALUE, such as timeout=5m, not {shorten(word)}"
            raise UsageError(msg)
        _must_be_possible(name)
        fields.pop(name, None)
        if text:
            codes = name in {"no_retry_on", "cancel_on", "defer_on"} and not text.startswith("[")
            fields[name] = FIELDS[name].check(name, _value(f"[{text}]" if codes else text))
    return options_text(fields)


def _must_be_possible(name: str) -> None:
    options = [field.name for field in FIELDS.values() if field.option]
    # A deadline is a point in time, after which no job of the queue could run.
    possible = [name for name in options if name not in {*READ_ONLY, "deadline"}] + ["max_retries"]
    if name not in possible:
        hint = did_you_mean(name, possible)
        hint = hint or "; see the retry, hook and run options in: queuectl enqueue --help"
        msg = f"a queue has no default for {shorten(name)}{hint}"
        raise UsageError(msg)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
