"""The commands config list, get, set and unset. `set` stores a row in the database."""

import os
from collections.abc import Iterator

from queued.core import settings
from queued.core.errors import Exit, UsageError
from queued.core.settings import SETTINGS, Source, Value
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import escaped, print_change, print_err, print_json, print_out
from queued.ctl.table import MIN_WIDTH, Column, heading, row_lines, table_width, wrap
from queued.store.paths import SYSTEM_CONF

LIST = (
    """\
Usage: queuectl config list [options]

Lists every setting with its value and its source: flag, environment, stored (by
`config set`), file or default. The first source that gives the setting is used.
"""
    + COMMON
    + """
Examples:
  queuectl config list
  queuectl config list --json
"""
)

CONFIG_COLUMNS = (Column("KEY", 22), Column("SOURCE", 11), Column("VALUE", 0))


def list_(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Prints all settings."""
    sources = _effective_sources(context)
    if context.json:
        print_json({key: _record(source) for key, source in sources.items()})
        return Exit.DONE
    width = table_width()
    print_out(heading(CONFIG_COLUMNS, width))
    for key, source in sources.items():
        print_out("\n".join(_setting_lines(key, source, width)))
    return Exit.DONE


def _setting_lines(key: str, source: Source, width: int) -> Iterator[str]:
    """Yields the lines of a setting; a long value is wrapped, because part of a path is useless."""
    margin = sum(column.width + 2 for column in CONFIG_COLUMNS[:-1])
    if width - margin < MIN_WIDTH:
        margin = 2  # the indentation that `row_lines` gives a cell on its own line
    head, *rest = wrap(escaped(_value_text(source.value)), width - margin)
    yield from row_lines(CONFIG_COLUMNS, (key, source.origin, head), width)
    yield from (" " * margin + part for part in rest)


GET = (
    """\
Usage: queuectl config get [options] KEY

Prints the value of one setting that applies to queuectl with this environment.
"""
    + COMMON
    + """
Examples:
  queuectl config get workers
  queuectl config get --json db
"""
)


def get(context: Context, arguments: Arguments) -> int:
    """Prints one setting."""
    key = _key(arguments)
    source = _effective_sources(context)[key]
    if context.json:
        print_json({"key": key, **_record(source)})
    else:
        print_out(_value_text(source.value))
    return Exit.DONE


def _effective_sources(context: Context) -> dict[str, Source]:
    sources = context.sources()
    path = sources["db"]._replace(value=context.database)
    return {**sources, "db": path}


def _record(source: Source) -> dict[str, Value]:
    return {"value": source.value, "source": source.origin}


def _value_text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


_OVER_POSTGRES = frozenset({"lease", "failover"})
_OF_RUNS = frozenset({"default_timeout", "kill_grace", "output_limit", "environment"})

SET = (
    """\
Usage: queuectl config set [options] [--] KEY [--] VALUE

Stores a setting in the database. Running services apply it at once, and jobs
that are enqueued later get the new default_max_retries. A duration is in
seconds, or text such as 500ms, 1h30m, "5 min" or 1w.
"""
    + COMMON
    + """
Examples:
  queuectl config set workers 8
  queuectl config set default-timeout 2h
"""
)


def set_(context: Context, arguments: Arguments) -> int:
    """Stores a setting. If the value is not valid, raises UsageError and stores nothing."""
    key = _storable_key(context, arguments)
    text = arguments.text("VALUE") or ""
    value = settings.parse(key, text)
    context.store.config_set(key, _value_text(value), now_ms=now_ms())
    if context.json:
        print_json({"key": key, "value": value})
    else:
        print_out(f"{key} = {_value_text(value)}")
    variable = settings.variable(key, dict(os.environ))
    if variable:
        print_err(f"queuectl: {variable} is set in this environment and overrides it here")
    _report_effect(context, key)
    return Exit.DONE


_FLAGS = {"--workers": "--workers (worker start --count)"}  # as users may have given them


def _report_effect(context: Context, key: str) -> None:
    """Says which services apply the new value of a setting, and when."""
    import json

    from queued.ctl.live_services import live_instances, warn_without_service

    if key == "default_max_retries":
        return  # no service applies it, but each enqueue
    if key in _OVER_POSTGRES and not context.engine.spans_hosts:
        print_err(f"queuectl: {key} has no effect on SQLite")
        return
    instances = live_instances(context)
    for instance in instances:
        overrides = json.loads(instance.overrides)
        overriding = isinstance(overrides, dict) and overrides.get(key)
        effect = "applies it " + ("to runs that start from now on" if key in _OF_RUNS else "now")
        if overriding:
            overriding = _FLAGS.get(overriding, overriding)
            effect = f"does not apply it: it was started with {overriding}"
        print_err(f"queuectl: the service with pid {instance.pid} {effect}")
    if not instances:
        warn_without_service(context)


UNSET = (
    """\
Usage: queuectl config unset [options] KEY

Deletes a setting that `config set` stored, so that the conf file or the default
applies again.
"""
    + COMMON
    + """
Examples:
  queuectl config unset workers
  queuectl config unset default-timeout
"""
)


def unset(context: Context, arguments: Arguments) -> int:
    """Deletes a stored setting, if it is stored."""
    key = _storable_key(context, arguments)
    done = context.store.config_unset(key)
    nothing = None if done else f"{key} was not stored in the database"
    record = {"key": key, "unset": done}
    return print_change(f"{key} unset", nothing, record, as_json=context.json)


def _key(arguments: Arguments) -> str:
    return settings.canonical(arguments.text("KEY") or "")


def _storable_key(context: Context, arguments: Arguments) -> str:
    key = _key(arguments)
    if not SETTINGS[key].stored:
        place = context.conf or SYSTEM_CONF
        msg = f"{key} cannot be stored in the database; set it in {place}"
        msg += f" or as QUEUECTL_{key.upper()}"
        raise UsageError(msg)
    return key
