"""The command enqueue: a job from JSON or from words of the shell, or many from standard input."""

import sys
from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import NoReturn

from queued.core.errors import ConflictError, Exit, UsageError
from queued.core.job_spec import new_job
from queued.core.model import NewJob
from queued.core.suggestions import brief
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import progress, put, put_json, say

ENQUEUE = (
    """\
Usage:
  queuectl enqueue [options] JSON
  queuectl enqueue [options] -
  queuectl enqueue [options] [--env VAR]... [--limit LIMIT]... -- WORDS...

Adds a job and prints its id. JSON is an object as
{"command": "sleep 2", "max_retries": 3}; only the command is required. With `-`
each line of standard input is one, and all are added or none. A single word is
passed to `sh -c` as it is; several are quoted, so that the command gets the
very same arguments. The options up to --limit are for words only; in JSON they
are fields (max_retries, env, limits ...).

Options:
  --id ID              the job's name; a short unique one is made if not given
  --queue QUEUE        the queue (default)
  --priority N         higher starts first (0)
  --run-at TIME        not before this time, as 2026-01-31T12:00:00Z, or seconds
                       since 1970
  --delay T            not before T from now (seconds, or 500ms, 10m, 2h, 1d)
  --max-retries N      failed runs until the job is dead
  --backoff-base X     a retry waits X ** attempts seconds
  --backoff-max T      the longest wait before a retry
  --backoff-jitter X   spreads that wait by plus or minus this fraction
  --no-retry-on CODES  exit codes that go straight to dead, as 2,64
  --defer-on CODES     exit codes that mean: not now, and do not count
  --timeout T          how long a run may take
  --kill-grace T       from TERM to KILL for what must end
  --leave-children     processes that outlive the command stay alive
  --split              keep standard output and standard error apart
  --output-limit N     bytes of each stream that are kept
  --env VAR            NAME=VALUE for the command, or NAME with the value it has
                       here; may be repeated
  --cwd DIR            the directory to run in
  --umask MASK         the file mode mask, as 022
  --here               this directory and this umask
  --nice N             the niceness
  --limit LIMIT        memory=512M, cpu=SECONDS, files=N or processes=N; may be
                       repeated
  --wait               print what the job prints, until it ends, and exit as it
                       did; Ctrl+C cancels it
"""
    + COMMON
)


def enqueue(context: Context, arguments: Arguments) -> int:
    """Adds what was given, all or nothing, and prints the ids."""
    source = arguments.text("JSON")
    waits = arguments.flag("--wait")
    if arguments.texts("WORDS"):
        from queued.ctl.shell_job import payload

        jobs = [new_job(payload(arguments))]
    else:
        _refuse_fields(arguments)
        if source == "-" and waits:
            msg = "--wait is for one job, not for standard input"
            raise UsageError(msg)
        if source == "-":
            return _enqueue_lines(context)
        jobs = [new_job(_decoded(source or ""))]
    ids = _store(context, jobs)
    if waits:
        from queued.ctl.enqueue_wait import attend

        return attend(context, ids[0])
    if context.json:
        put_json({"id": ids[0]})
    else:
        put(ids[0])
    return Exit.DONE


def _store(context: Context, jobs: Sequence[NewJob]) -> Sequence[str]:
    max_retries = int(context.sources()["default_max_retries"].value)
    return context.store.enqueue(jobs, max_retries=max_retries, now_ms=now_ms())


def _refuse_fields(arguments: Arguments) -> None:
    """An option that JSON would silently win over, or lose to, is a mistake."""
    if arguments.text("JSON") == "--":
        msg = "no words come after --"
        raise UsageError(msg)
    given = arguments.given() - {"--wait", "--json", "--db", "--config"}
    if given:
        msg = f"{', '.join(sorted(given))} cannot be combined with JSON: put it into the JSON"
        raise UsageError(msg)


def _decoded(text: str, *, one_line: bool = False) -> object:
    """The JSON value; raises UsageError that says where it is broken."""
    import json  # 1.5 ms of queuectl's start, and words need none of it

    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith("{"):
            msg = f"{brief(text)} is no JSON object; for words of the shell: enqueue -- sleep 2"
            raise UsageError(msg) from None
        where = ("" if one_line else f"line {error.lineno}, ") + f"column {error.colno}"
        msg = f"broken JSON at {where}: {error.msg}"
        raise UsageError(msg) from None
    except RecursionError:
        msg = "broken JSON: nested too deeply"
        raise UsageError(msg) from None
    except ValueError as error:  # a number of thousands of digits
        msg = f"broken JSON: {str(error).partition(';')[0]}"
        raise UsageError(msg) from None


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose names differ; of two equal ones the first would be lost silently."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{brief(twice)} is given twice in the JSON"
        raise UsageError(msg)
    return found


def _constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise UsageError(msg)


def _enqueue_lines(context: Context) -> int:
    """Reads all of standard input before anything is stored."""
    jobs: list[NewJob] = []
    places: list[int] = []
    for place, line in enumerate(sys.stdin.buffer if sys.stdin else (), 1):
        if place == 1:
            line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901 - what some editors put there
        if line.strip():
            jobs.append(_job_of_line(line, place))
            places.append(place)
            _progress(len(jobs))
    ids = _store_lines(context, jobs, places) if jobs else ()
    if context.json:
        put_json({"ids": ids})
    elif ids:
        put("\n".join(ids))
    else:
        say("queuectl: standard input holds no job")
    return Exit.DONE


def _job_of_line(line: bytes, place: int) -> NewJob:
    try:
        return new_job(_decoded(line.decode().strip(), one_line=True))
    except UnicodeDecodeError as error:
        msg = f"line {place}: not UTF-8 at byte {error.start + 1}"
        raise UsageError(msg) from None
    except UsageError as error:
        msg = f"line {place}: {error}"
        raise UsageError(msg) from None


def _store_lines(context: Context, jobs: Sequence[NewJob], places: Sequence[int]) -> Sequence[str]:
    from queued.store.sqlite.client_store import DuplicateJobError

    _progress(len(jobs), last=True)
    try:
        return _store(context, jobs)
    except DuplicateJobError as error:
        msg = f"line {places[error.index]}: {error}; nothing was added"
        raise ConflictError(msg) from None


def _progress(count: int, *, last: bool = False) -> None:
    """Tells a terminal how many lines were read."""
    if last or count % 10_000 == 0:
        progress(f"{count} jobs read" + (", storing them\n" if last else ""))
