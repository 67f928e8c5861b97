"""The options that name jobs by what they have in common, the same for every command."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from queued.core.errors import UsageError
from queued.core.model import OUTCOMES, PARTS_OF_PENDING, Label
from queued.core.records import JobFilter
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import now_ms, parse_when
from queued.ctl.arguments import Arguments

FILTER_OPTIONS = """\
  --state STATES       of those that the command is for: pending (with the next
                       four), scheduled (not yet due), held, blocked (waits for
                       other jobs or for its key), failed (waits for a retry),
                       processing, completed, dead, cancelled; several:
                       dead,failed
  -q, --queue QUEUES   only jobs of these queues: a,b; -a: of all but a
  --since T            only jobs that have changed in the last T (90m, 12h, 7d),
                       or since the time T
  --older-than T       only jobs that have not changed in the last T, or since T
  --command GLOB       only jobs with such a command: 'make *', '*.sh ?'
  --priority N         only jobs of this priority
  --label LABEL        only jobs with this label: NAME=VALUE
  --outcome OUTCOMES   only jobs whose last run ended so: exit, signal, timeout,
                       oom, lost, spawn-error, cancelled, interrupted, expired;
                       or dependency: it cannot start after another job
  --exit-code N        only jobs whose last run exited with this code
  --schedule SCHEDULE  only jobs that this schedule has enqueued
  --by USER            only jobs that this user has submitted
  --array ARRAY        only jobs of this array
  --key KEY            only jobs with this key
"""
FILTERS = tuple(re.findall(r"(--[a-z-]+) [A-Z]", FILTER_OPTIONS))
UNFINISHED = (Label.PENDING, Label.PROCESSING)
WAITING = (Label.PENDING, *PARTS_OF_PENDING)
OPEN = (*UNFINISHED, *PARTS_OF_PENDING)
_SYNONYMS = {
    "done": Label.COMPLETED,
    "finished": Label.COMPLETED,
    "succeeded": Label.COMPLETED,
    "success": Label.COMPLETED,
    "running": Label.PROCESSING,
    "active": Label.PROCESSING,
    "started": Label.PROCESSING,
    "queued": Label.PENDING,
    "waiting": Label.PENDING,
    "delayed": Label.SCHEDULED,
    "stashed": Label.HELD,
    "retrying": Label.FAILED,
    "buried": Label.DEAD,
    "killed": Label.CANCELLED,
}


def job_filter(
    arguments: Arguments, default: Sequence[Label] = (), allowed: Sequence[Label] = tuple(Label)
) -> JobFilter:
    """Returns the filter that the options name, with the states `default` if they name none.

    Raises UsageError, also for a state that is not among `allowed`.
    """
    return JobFilter(
        labels=_labels(arguments.text("--state"), allowed) or tuple(default),
        **_queues(arguments.text("--queue")),
        command=arguments.text("--command"),
        priority=arguments.integer("--priority", -(2**31), 2**31 - 1),
        job_label=_job_label(arguments.text("--label")),
        outcomes=_words(_split(arguments.text("--outcome")), "--outcome", str, OUTCOMES),
        exit_code=arguments.integer("--exit-code", 0, 255),
        schedule=arguments.text("--schedule"),
        by=arguments.text("--by"),
        array_id=arguments.text("--array"),
        key=arguments.text("--key"),
        since_ms=_ago(arguments, "--since"),
        before_ms=_ago(arguments, "--older-than"),
        now_ms=now_ms(),
    )


def _queues(text: str | None) -> dict[str, Any]:
    """Returns the fields of a filter for a list of queues, of which those with a dash are left out.

    A single queue has a field of its own, by which an index finds its jobs. Raises UsageError.
    """
    words = _split(text)
    if not all(word.removeprefix("-") and "*" not in word for word in words):
        msg = f"--queue takes names of queues: a,b or -a (all but a), not {shorten(text)}"
        raise UsageError(msg)
    names = tuple(word for word in words if not word.startswith("-"))
    excluded = tuple(word[1:] for word in words if word.startswith("-"))
    if len(names) == 1:
        return {"queue": names[0], "not_queues": excluded}
    return {"queues": names, "not_queues": excluded}


def _job_label(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, equals, value = text.partition("=")
    if not (name and equals):
        msg = f"--label takes NAME=VALUE, not {shorten(text)}"
        raise UsageError(msg)
    return name, value


def is_filtered(arguments: Arguments) -> bool:
    """Returns whether any option of a filter was given."""
    return any(arguments.text(name) is not None for name in FILTERS)


def state_of(arguments: Arguments, name: str) -> Label | None:
    """Returns the state that an option names. Raises UsageError."""
    text = arguments.text(name)
    return None if text is None else _words([text], name, Label, tuple(Label), _SYNONYMS)[0]


def _labels(text: str | None, allowed: Sequence[Label]) -> tuple[Label, ...]:
    labels = _words(_split(text), "--state", Label, allowed, _SYNONYMS)
    parts = PARTS_OF_PENDING if Label.PENDING in labels else ()
    return tuple(label for label in labels if label not in parts)


def _split(text: str | None) -> list[str]:
    return [] if text is None else text.split(",")


def _words(
    words: Sequence[str],
    option: str,
    make: Callable[[str], Any],
    allowed: Sequence[Any],
    synonyms: dict[str, Label] | None = None,
) -> tuple[Any, ...]:
    """Returns the words of a list, each once. Raises UsageError that names those allowed."""
    for word in words:
        if word not in allowed:
            meant = (synonyms or {}).get(word.lower())
            hint = (
                f"; did you mean '{meant}'?"
                if meant in allowed
                else did_you_mean(word, map(str, allowed))
            )
            known = " or ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
            msg = f"{option} takes {known}, not {word!r}{hint}"
            raise UsageError(msg)
    return tuple(make(word) for word in dict.fromkeys(words))


def _ago(arguments: Arguments, name: str) -> int | None:
    """Returns the point in time that lies the given duration back, or that is given as a time."""
    text, now = arguments.text(name), now_ms()
    try:
        age_s = arguments.seconds(name)
    except UsageError as error:
        with suppress(UsageError):
            if (at := parse_when(text)) <= now:
                return at
        msg = f"{error}; or a time that is past, such as 2026-12-01T03:00Z"
        raise UsageError(msg) from None
    return None if age_s is None else now - round(min(age_s, now / 1000) * 1000)
