"""The command stats: counts, waits and durations of the runs of a span of time."""

import json
import re
import sys
from typing import TYPE_CHECKING

from queued.core.errors import Exit, UsageError
from queued.core.run_periods import HOUR_MS, span_begin
from queued.core.times import iso, now_ms, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_err, print_json, print_out
from queued.ctl.table import Column, heading, row_lines, table_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from queued.core.run_stats import EndedRun, RunStats

STATS = (
    """\
Usage: queuectl stats [options]

Prints how many runs have ended in a span of time, the share of those that
succeeded, how many were retries, how long jobs waited and runs took (half, 95
and 99 of 100 took no longer), their CPU time and the highest memory of a run.
Jobs that expired count as runs without a wait; like cancelled and interrupted
runs they are neither a success nor a failure. A terminal of fewer than 140
columns shows a part; --json has all.
Services count each run in its minute, and later in its hour, so that millions
of runs take no longer than a few. These counts keep purged runs, for 31 days.
A span begins at a full minute, one of more than an hour at a full hour: the
heading says when. Counts are exact; durations err by 3 % at most.
By command or label, and of some commands, the newest 50000 runs of the span
are read, without purged ones; if there are more, the heading and a note say so.

Options:
  --since T            runs that ended in the last T (90m, 24h, 7d; default 24h)
  --by KEY             for each queue, command, hour or result, or for each
                       value of a label: label:NAME
  --command GLOB       only runs of jobs with such a command: 'make *', '*.sh ?'
  --not-command GLOB   only runs of other jobs
  --all                if runs are read, read all: a million take some 10 s
"""
    + COMMON
    + """
Examples:
  queuectl stats --since 1h --by queue
  queuectl stats --since 7d --by result --json
  queuectl stats --by label:customer
  queuectl stats --by command --command '*.sh' --since 7d --all
"""
)

_MOST_READ = 50_000  # runs, unless all are to be read
_MOST_GROUPS = 1000
_REST = "(others)"
_NONE = "(none)"  # of jobs without the label
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_BLOCKS = " ▏▎▍▌▋▊▉█"
_BAR_WIDTH = 10
_COLUMNS = (
    Column("", 24),
    Column("RUNS", 8, right=True),
    Column("OK", 5, right=True),
    Column("RETRIES", 7, right=True),
    *(Column(f"WAIT {name}" if name == "p50" else name, 8, right=True) for name, _ in _QUANTILES),
    *(Column(f"RUN {name}" if name == "p50" else name, 8, right=True) for name, _ in _QUANTILES),
    Column("CPU", 7, right=True),
    Column("MEMORY", 7, right=True),
    Column("", 0),
)
_WIDE = sum(column.width + 2 for column in _COLUMNS) + _BAR_WIDTH
_NARROW = {  # what a terminal of 80 columns has room for, by place in the cells
    0: Column("", 18),
    1: _COLUMNS[1],
    2: _COLUMNS[2],
    5: Column("WAIT p95", 8, right=True),
    7: _COLUMNS[7],
    8: Column("RUN p95", 8, right=True),
    12: Column("", 0),
}


_IN_COUNTS = ("queue", "hour", "result")  # what services count runs by


class _Groups:
    """The statistics of all runs since a time, and of a bounded number of groups of them."""

    def __init__(self, since_ms: int) -> None:
        from queued.core.run_stats import RunStats

        self._new = RunStats
        self.since_ms = since_ms
        self.all = RunStats()
        self.named: dict[str, RunStats] = {}

    def of(self, name: str | None) -> "list[RunStats]":
        """Returns the statistics to which a run of a group belongs; None is of no group."""
        if name is None:
            return [self.all]
        if name not in self.named and len(self.named) >= _MOST_GROUPS:
            name = _REST
        return [self.all, self.named.setdefault(name, self._new())]

    def ordered(self, by: str | None) -> "dict[str, RunStats]":
        """Returns the groups, the largest first, or hours in order."""
        hours = by == "hour"
        return dict(
            sorted(self.named.items(), key=lambda one: (0 if hours else -one[1].runs, one[0]))
        )


def stats(context: Context, arguments: Arguments) -> int:
    """Prints the statistics of all runs of the span, and of each group."""
    by, since_s = arguments.text("--by"), arguments.seconds("--since")
    now = now_ms()
    since_ms = max(0, now - round(1000 * (86_400 if since_s is None else since_s)))
    of_commands = arguments.given() & {"--command", "--not-command"}
    if not of_commands and (by is None or by in _IN_COUNTS):
        groups = _counted(context, span_begin(since_ms, now), by)
    else:
        groups = _read(context, arguments, since_ms, _key(by))
    if context.json:
        records = {name: _record(one) for name, one in groups.ordered(by).items()}
        whole = {"since": iso(groups.since_ms), "all": _record(groups.all)}
        print_json(whole | ({by: records} if by else {}))
    else:
        _print_table(groups, by)
    return Exit.DONE


def _counted(context: Context, begin_ms: int, by: str | None) -> _Groups:
    """Returns what the counts of services have, whose minutes and hours are not divided."""
    groups = _Groups(begin_ms)
    for part in context.store.numbers.period_runs(since_ms=begin_ms, by=by or ""):
        name = _hour(int(part.group)) if by == "hour" else part.group
        for group in groups.of(name if by else None):
            group.add_part(part)
    return groups


def _read(
    context: Context,
    arguments: Arguments,
    since_ms: int,
    key: "Callable[[EndedRun], str] | None",
) -> _Groups:
    """Returns the statistics of the newest runs; says so on standard error if there are more."""
    limit = None if arguments.flag("--all") else _MOST_READ
    matches = _matcher(arguments.text("--command"), arguments.text("--not-command"))
    groups, read, oldest_ms = _Groups(since_ms), 0, since_ms
    one_more = None if limit is None else limit + 1
    for run in context.store.numbers.newest_runs(since_ms=since_ms, limit=one_more):
        if read == limit:
            groups.since_ms = oldest_ms
            print_err(f"queuectl: only the newest {limit} runs were read; --all reads all")
            break
        read, oldest_ms = read + 1, run.ended_ms
        if matches(run.command):
            for group in groups.of(key(run) if key else None):
                group.add(run)
    return groups


def _matcher(glob: str | None, not_glob: str | None) -> "Callable[[str], bool]":
    """Returns whether a command matches the first pattern, if any, and not the second."""
    wanted, unwanted = (
        re.compile(_pattern(one), re.DOTALL) for one in (glob or "*", not_glob or "")
    )
    return lambda command: bool(wanted.fullmatch(command)) and not unwanted.fullmatch(command)


def _pattern(glob: str) -> str:
    """Returns the regular expression of a text in which * is any text and ? any character."""
    return "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in glob)


def _hour(ms: int) -> str:
    return iso(ms // HOUR_MS * HOUR_MS)[:16] + "Z"


_KEYS: "dict[str, Callable[[EndedRun], str]]" = {
    "queue": lambda run: run.queue,
    "command": lambda run: run.command,
    "hour": lambda run: _hour(run.ended_ms),
    "result": lambda run: run.result,
}


def _key(by: str | None) -> "Callable[[EndedRun], str] | None":
    """Returns the function that names the group of a run. Raises UsageError."""
    if by is None or by in _KEYS:
        return _KEYS.get(by or "")
    label = by.removeprefix("label:")
    if not label or label == by:
        msg = f"--by takes queue, command, hour, result or label:NAME, not {by!r}"
        raise UsageError(msg)
    return lambda run: str(json.loads(run.labels or "{}").get(label, _NONE))


def _print_table(groups: _Groups, by: str | None) -> None:
    named = groups.ordered(by)
    most = max((one.runs for one in named.values()), default=0)
    width = table_width()
    since, is_wide = iso(groups.since_ms)[:16] + "Z", width >= _WIDE
    shown = dict(enumerate(_COLUMNS)) if is_wide else dict(_NARROW)
    shown[0] = shown[0]._replace(title=f"SINCE {since}" if is_wide else since)
    columns = [*shown.values()]
    lines = [heading(columns, width)]
    rows = [
        *((name, *_cells(one), _bar(one, most)) for name, one in named.items()),
        ("all", *_cells(groups.all), ""),
    ]
    for cells in rows:
        lines += row_lines(columns, [cells[place] for place in shown], width)
    print_out("\n".join(lines))


def _record(one: "RunStats") -> dict[str, object]:
    return {
        "runs": one.runs,
        "completed": one.completed,
        "failed": one.failed,
        "success": one.success,
        "retries": one.retries,
        "wait_seconds": {name: one.waits.quantile_s(part) for name, part in _QUANTILES},
        "run_seconds": {name: one.times.quantile_s(part) for name, part in _QUANTILES},
        "cpu_seconds": one.cpu_ms / 1000,
        "peak_kib": one.peak_kib,
    }


def _cells(one: "RunStats") -> tuple[str, ...]:
    quantiles = [each.quantile_s(part) for each in (one.waits, one.times) for _, part in _QUANTILES]
    return (
        str(one.runs),
        "-" if one.success is None else f"{100 * one.success:.0f}%",
        str(one.retries),
        *("-" if seconds is None else _short(seconds) for seconds in quantiles),
        short_duration(one.cpu_ms / 1000),
        f"{one.peak_kib / 1024:.0f}M",
    )


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.0f}ms" if seconds < 1 else short_duration(seconds)


def _bar(one: "RunStats", most: int) -> str:
    """Returns the number of runs as a bar; empty in a pipe."""
    if not sys.stdout.isatty():
        return ""
    eighths = round(8 * _BAR_WIDTH * one.runs / most)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
