"""The command stats: counts, waits and durations of the runs of a span of time."""

import json
import sys
from typing import TYPE_CHECKING

from queued.core.errors import Exit, UsageError
from queued.core.times import iso, now_ms, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_json, print_out
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
It reads each run of the span: a million take half a minute or more.

Options:
  --since T            runs that ended in the last T (90m, 24h, 7d; default 24h)
  --by KEY             for each queue, command, hour or result, or for each
                       value of a label: label:NAME
"""
    + COMMON
    + """
Examples:
  queuectl stats --since 1h --by queue
  queuectl stats --since 7d --by result --json
  queuectl stats --by label:customer
"""
)

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


def _hour(run: "EndedRun") -> str:
    return iso(run.ended_ms // 3_600_000 * 3_600_000)[:16] + "Z"


_KEYS: "dict[str, Callable[[EndedRun], str]]" = {
    "queue": lambda run: run.queue,
    "command": lambda run: run.command,
    "hour": _hour,
    "result": lambda run: run.result,
}


def _key(by: str) -> "Callable[[EndedRun], str]":
    """Returns the function that names the group of a run. Raises UsageError."""
    label = by.removeprefix("label:")
    if by in _KEYS:
        return _KEYS[by]
    if not label or label == by:
        msg = f"--by takes queue, command, hour, result or label:NAME, not {by!r}"
        raise UsageError(msg)
    return lambda run: str(json.loads(run.labels or "{}").get(label, _NONE))


def stats(context: Context, arguments: Arguments) -> int:
    """Prints the statistics of all runs of the span, and of each group."""
    by, since_s = arguments.text("--by"), arguments.seconds("--since")
    since_ms = now_ms() - round(1000 * (86_400 if since_s is None else since_s))
    groups = _grouped(context, since_ms, _key(by) if by else None)
    if context.json:
        records = {name: _record(one) for name, one in groups.items()}
        print_json({"all": records.pop("")} | ({by: records} if by else {}))
    else:
        most = max((one.runs for name, one in groups.items() if name), default=0)
        width = table_width()
        shown = dict(enumerate(_COLUMNS)) if width >= _WIDE else _NARROW
        columns = [*shown.values()]
        lines = [heading(columns, width)]
        for name, one in groups.items():
            cells = (name or "all", *_cells(one), _bar(name, one, most))
            lines += row_lines(columns, [cells[place] for place in shown], width)
        print_out("\n".join(lines))
    return Exit.DONE


def _grouped(
    context: Context, since_ms: int, key: "Callable[[EndedRun], str] | None"
) -> "dict[str, RunStats]":
    """Returns the statistics of each group, the largest first (hours in order), then of all."""
    from queued.core.run_stats import RunStats

    total, groups = RunStats(), dict[str, RunStats]()
    for run in context.store.numbers.ended_runs(since_ms=since_ms):
        total.add(run)
        if key is not None:
            name = key(run)
            if name not in groups and len(groups) >= _MOST_GROUPS:
                name = _REST
            groups.setdefault(name, RunStats()).add(run)
    order = (lambda name: (0, name)) if key is _hour else (lambda name: (-groups[name].runs, name))
    return {name: groups[name] for name in sorted(groups, key=order)} | {"": total}


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


def _bar(name: str, one: "RunStats", most: int) -> str:
    """Returns the number of runs as a bar; empty in a pipe."""
    if not name or not sys.stdout.isatty():
        return ""
    eighths = round(8 * _BAR_WIDTH * one.runs / most)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
