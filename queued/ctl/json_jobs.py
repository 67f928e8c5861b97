"""Reads jobs in JSON, and says where the JSON is broken."""

import json
import sys
from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from queued.core.arrays import new_jobs
from queued.core.errors import UsageError
from queued.core.model import NewJob
from queued.core.suggestions import shorten
from queued.ctl.arguments import Arguments
from queued.ctl.render import progress

LINE_LIMIT = 4 * 1024 * 1024  # bytes; above each job, also if all its characters are escaped


class JobsOfLines(NamedTuple):
    """Jobs, and the number of the line that each was read from."""

    jobs: list[NewJob]
    line_numbers: list[int]


def must_be_json(arguments: Arguments, words: Sequence[str]) -> None:
    """Raises UsageError for what a command line with JSON, or with `-`, must not have."""
    _refuse_fields(arguments)
    if words[1:]:
        msg = f"unexpected argument {words[1]!r} after {'-' if words[0] == '-' else 'the JSON'}"
        raise UsageError(msg)
    if words[0] == "-" and arguments.flag("--wait"):
        msg = "--wait takes one job, and - may read many"
        raise UsageError(msg)


def _refuse_fields(arguments: Arguments) -> None:
    """Refuses options that are fields of the JSON, because one of two values would be ignored."""
    flags = {"--wait", "--dry-run", "--skip-existing", "--fail-if-exists", "--replace"}
    given = arguments.given() - flags - {"--json", "--db", "--config"}
    if given:
        msg = f"{', '.join(sorted(given))} cannot be combined with JSON: use the field in the JSON"
        raise UsageError(msg)


def jobs_of_line(line: bytes, line_no: int) -> Sequence[NewJob]:
    """Returns the jobs of a line of JSON. Raises UsageError, which names the line."""
    if len(line) > LINE_LIMIT:
        msg = f"line {line_no}: more than 4 MiB; give one job in JSON on each line"
        raise UsageError(msg)
    try:
        return new_jobs(decoded(line.decode().strip(), one_line=True))
    except UnicodeDecodeError as error:
        msg = f"line {line_no}: not UTF-8 at byte {error.start + 1}"
        raise UsageError(msg) from None
    except UsageError as error:
        msg = f"line {line_no}: {error}"
        raise UsageError(msg) from None


def decoded(text: str, *, one_line: bool = False) -> object:
    """Returns the JSON value. Raises UsageError that says where the JSON is broken."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith("{"):
            msg = f"{shorten(text)} is not a JSON object"
            raise UsageError(msg) from None
        where = ("" if one_line else f"line {error.lineno}, ") + f"column {error.colno}"
        msg = f"broken JSON at {where}: {error.msg}"
        if '"' not in text and not one_line:
            msg += "; to run it as a command, put -- before it"
        raise UsageError(msg) from None
    except RecursionError:
        msg = "broken JSON: nested too deeply"
        raise UsageError(msg) from None
    except ValueError as error:  # a number of thousands of digits
        msg = f"broken JSON: {str(error).partition(';')[0]}"
        raise UsageError(msg) from None


def read_lines() -> JobsOfLines:
    """Returns the jobs of standard input. Raises UsageError."""
    jobs: list[NewJob] = []
    line_numbers: list[int] = []
    lines = iter(lambda: sys.stdin.buffer.readline(LINE_LIMIT + 1), b"") if sys.stdin else ()
    for line_no, line in enumerate(lines, 1):
        if line_no == 1:
            line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901 - some editors write one
        if line.strip():
            new = jobs_of_line(line, line_no)
            jobs += new
            line_numbers += [line_no] * len(new)
            show_progress(len(jobs))
    return JobsOfLines(jobs, line_numbers)


def show_progress(count: int, *, last: bool = False) -> None:
    """Shows on a terminal how many lines have been read."""
    if last or count % 10_000 == 0:
        progress(f"{count} jobs read" + (", storing them\n" if last else ""))


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    """Returns an object. Raises UsageError if a name is given twice: a value would be lost."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{shorten(twice)} is given twice in the JSON"
        raise UsageError(msg)
    return found


def _constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise UsageError(msg)
