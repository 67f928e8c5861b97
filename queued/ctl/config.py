"""The settings: list, get, set, unset. What `set` keeps is a row of the database."""

import os
from collections.abc import Iterator

from queued.core import settings
from queued.core.errors import Exit, UsageError
from queued.core.settings import SETTINGS, Source, Value
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import (
    LEAST,
    Column,
    escaped,
    heading,
    put,
    put_json,
    row,
    say,
    width_here,
    wrapped,
)

LIST = (
    """\
Usage: queuectl config list [options]

Every setting with its value and where that comes from: flag, environment,
stored (by `config set`), file or default.

Options:
"""
    + COMMON
)

CONFIG_COLUMNS = (Column("KEY", 22), Column("SOURCE", 11), Column("VALUE", 0))


def list_(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands are called alike
    """Prints all settings."""
    sources = _sources(context)
    if context.json:
        put_json({key: _record(source) for key, source in sources.items()})
        return Exit.DONE
    width = width_here()
    put(heading(CONFIG_COLUMNS, width))
    for key, source in sources.items():
        put("\n".join(_setting_lines(key, source, width)))
    return Exit.DONE


def _setting_lines(key: str, source: Source, width: int) -> Iterator[str]:
    """A path may be long and is of no use when it is cut: it goes on below itself."""
    margin = sum(column.width + 2 for column in CONFIG_COLUMNS[:-1])
    if width - margin < LEAST:
        margin = 2  # as `row` has what needs a line of its own
    head, *rest = wrapped(escaped(_text(source.value)), width - margin)
    yield from row(CONFIG_COLUMNS, (key, source.origin, head), width)
    yield from (" " * margin + part for part in rest)


GET = (
    """\
Usage: queuectl config get [options] KEY

The value of one setting that is in force here.

Options:
"""
    + COMMON
)


def get(context: Context, arguments: Arguments) -> int:
    """Prints one setting."""
    key = _key(arguments)
    source = _sources(context)[key]
    if context.json:
        put_json({"key": key, **_record(source)})
    else:
        put(_text(source.value))
    return Exit.DONE


def _sources(context: Context) -> dict[str, Source]:
    sources = context.sources()
    path = sources["db_path"]._replace(value=context.database)
    return {**sources, "db_path": path}


def _record(source: Source) -> dict[str, Value]:
    return {"value": source.value, "source": source.origin}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


SET = (
    """\
Usage: queuectl config set [options] [--] KEY [--] VALUE

Keeps a setting in the database. A running service takes it at once. Durations
are seconds, or a number with ms, s, m, h or d.

Options:
"""
    + COMMON
)


def set_(context: Context, arguments: Arguments) -> int:
    """Stores a setting. Raises UsageError that names the range, and stores nothing."""
    key = _stored_key(arguments)
    text = arguments.text("VALUE") or ""
    value = settings.parse(key, text)
    context.store.config_set(key, text, now_ms=now_ms())
    if context.json:
        put_json({"key": key, "value": value})
    else:
        put(f"{key} = {_text(value)}")
    variable = settings.variable(key, dict(os.environ))
    if variable:
        say(f"queuectl: {variable} in this environment goes before it")
    return Exit.DONE


UNSET = (
    """\
Usage: queuectl config unset [options] KEY

Forgets what `config set` kept: the conf file or the default is in force again.

Options:
"""
    + COMMON
)


def unset(context: Context, arguments: Arguments) -> int:
    """Forgets a stored setting; the answer is no if there was none."""
    key = _stored_key(arguments)
    done = context.store.config_unset(key)
    if context.json:
        put_json({"key": key, "unset": done})
    elif done:
        put(f"{key} unset")
    else:
        say(f"queuectl: {key} was not set here")
    return Exit.DONE if done else Exit.NO


def _key(arguments: Arguments) -> str:
    return settings.canonical(arguments.text("KEY") or "")


def _stored_key(arguments: Arguments) -> str:
    key = _key(arguments)
    if not SETTINGS[key].stored:
        msg = f"{key} is needed before the database is open: set it in the conf file or environment"
        raise UsageError(msg)
    return key
