"""Finds the module of a command, parses its usage text with docopt, and runs the command.

An error is one line on standard error and an exit code. The function of a command has the name of
its verb, and its usage text the same name in capitals.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NoReturn

from queued.core.errors import Exit, QueuedError, UsageError
from queued.core.suggestions import did_you_mean
from queued.ctl.arguments import Arguments, BadArgumentsError, mark_command, relevant_usage
from queued.ctl.context import BUSY_LIMIT_S, Context
from queued.ctl.render import print_err, print_out
from queued.usage_errors import explain, split_words, usage_lines

TOP = """\
queuectl: a durable queue for shell commands

Usage: queuectl [--db WHERE] [--config PATH] COMMAND ...

  enqueue COMMAND... | JSON | -        add jobs (add)
  list | show JOB | logs JOB           list jobs (ls), one job, its output (log)
  wait JOBS...                         wait until jobs have ended
  cancel JOBS... | --queue Q | --all   cancel pending or running jobs (kill, rm)
  hold | release | run-now | move | edit | rerun | signal   change, repeat jobs
  status | stats | metrics             counts of jobs; of runs; for Prometheus
  purge JOBS... | --queue Q | --all    delete jobs that have ended
  dlq list | retry | purge             list, retry or delete dead jobs (retry)
  queue list | show | set | pause | resume | drain | clear | remove    queues
  worker start | stop | list           start, stop or list services
  host list | drain | resume           list hosts; let one start no more jobs
  schedule add | list | show | next | edit | run | pause | resume | remove  cron
  completion | config list | get | set | unset   for a shell; settings
  db check | backup | restore | move | vacuum | stats | upgrade   maintenance

JOB: an id, the beginning of a generated id, @last, or @-2 (last but one).
Database: --db, else $QUEUECTL_DB, else db in the conf file (--config).
Exit codes: 0 done or nothing to do, 1 not all done, 2 usage, 3 not found,
4 conflict, 70-78 errors, 124 timed out; wait, --follow, --wait: the job's own.
Help for a command: queuectl COMMAND --help. The words in () are aliases.
"""

COMMANDS = {
    "enqueue": "enqueue",
    "list": "jobs",
    "show": "jobs",
    "logs": "logs",
    "wait": "wait",
    "cancel": "jobs",
    "hold": "hold",
    "release": "hold",
    "run-now": "hold",
    "edit": "edit",
    "move": "move",
    "rerun": "edit",
    "signal": "signals",
    "status": "status",
    "stats": "stats",
    "metrics": "metrics",
    "purge": "purge",
    "dlq list": "dlq",
    "dlq retry": "dlq",
    "dlq purge": "dlq",
    "queue list": "queues",
    "queue show": "queues",
    "queue set": "queues",
    "queue pause": "queue_pause",
    "queue resume": "queue_pause",
    "queue drain": "queue_pause",
    "queue clear": "queues",
    "queue remove": "queues",
    "worker start": "workers",
    "worker stop": "workers",
    "worker list": "workers",
    "host list": "hosts",
    "host drain": "hosts",
    "host resume": "hosts",
    "schedule add": "schedules",
    "schedule edit": "schedules",
    "schedule list": "schedule_views",
    "schedule show": "schedule_views",
    "schedule next": "schedule_views",
    "schedule run": "schedules",
    "schedule pause": "schedules",
    "schedule resume": "schedules",
    "schedule remove": "schedules",
    "config list": "config",
    "config get": "config",
    "config set": "config",
    "config unset": "config",
    "completion": "completion",
    "db check": "db",
    "db backup": "db",
    "db restore": "db",
    "db move": "db",
    "db vacuum": "db",
    "db stats": "db",
    "db upgrade": "db",
}
ALIASES = {
    "add": "enqueue",
    "ls": "list",
    "log": "logs",
    "kill": "cancel",
    "rm": "cancel",
    "retry": "dlq retry",
}
_BUILTIN_NAMES = {"list", "next", "set"}  # their functions are `list_` etc.: builtins
_CREATING = {
    "enqueue",
    "config set",
    "queue set",
    "schedule add",
}  # commands that make the database if it is missing
_CHANGING = {  # commands that are logged if they have changed something
    *("cancel", "hold", "release", "run-now", "edit", "move", "rerun", "signal", "purge"),
    *("dlq retry", "dlq purge", "host drain", "host resume", "config set", "config unset"),
    *(f"queue {verb}" for verb in ("set", "pause", "resume", "drain", "clear", "remove")),
    *(f"schedule {verb}" for verb in ("add", "edit", "run", "pause", "resume", "remove")),
}
_LEADING = ("--db", "--config", "--json")


def main(argv: list[str] | None = None, *, busy_limit_s: float = BUSY_LIMIT_S) -> int:
    """Runs `queuectl` with the words `argv` and returns its exit code. Never raises."""
    if sys.stdout is None:
        print_err("queuectl: standard output is closed; nothing was done")
        return Exit.IO
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(sys.argv[1:] if argv is None else argv, busy_limit_s)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _flush_or_discard()
        code = 130
    except Exception as error:  # noqa: BLE001  a user never sees a traceback
        code = _report(error)
    return code


def _report(error: Exception) -> int:
    """Prints an error in one line and returns its exit code."""
    match error:
        case BrokenPipeError():
            _die_of_sigpipe()
        case BadArgumentsError():
            print_err(f"queuectl: {error}\n{error.usage}")
        case QueuedError():
            print_err(f"queuectl: {error}")
        case OSError():
            print_err(f"queuectl: {error.filename or 'cannot write the result'}: {error.strerror}")
        case _:
            print_err(f"queuectl: internal error {_location(error)}: {error!r}; please report it")
    _flush_or_discard()
    if isinstance(error, OSError):
        return Exit.DENIED if isinstance(error, PermissionError) else Exit.IO
    return error.exit_code if isinstance(error, QueuedError) else Exit.INTERNAL


def _die_of_sigpipe() -> None:
    """Ends as other programs do when the reader of their output has gone: by the signal."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)


def _flush_or_discard() -> None:
    """Writes buffered output, or discards it so that Python does not try again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _location(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def _run(argv: list[str], busy_limit_s: float) -> int:
    at = _command_index(argv)
    leading, rest = argv[:at], _without_alias(argv[at:])
    options = _options(rest)
    if "--version" in options or "-V" in options:
        return _version()
    if rest[:1] == ["complete"]:
        from queued.ctl.complete import complete

        return complete(leading, rest[1:])
    if rest[:1] == ["help"]:
        return _help(rest[1:])
    if "-h" in options or "--help" in options:
        return _help(options)
    return _run_command(leading, rest, busy_limit_s)


def _run_command(leading: list[str], rest: list[str], busy_limit_s: float) -> int:
    words = _command(rest)
    return _execute(words, leading + rest[len(words.split()) :], busy_limit_s)


def _execute(words: str, argv: list[str], busy_limit_s: float) -> int:
    module = _module(words)
    arguments = _parse(words, usage_of(words), argv)
    if arguments.flag("--help"):
        return _help(words.split())
    if arguments.flag("--version"):
        return _version()
    creates, serves = words in _CREATING, words == "worker start"
    context = Context(arguments, busy_limit_s, creates=creates, serves=serves)
    try:
        run = partial(getattr(module, _function(words)), context, arguments)
        if words in _CHANGING:
            from queued.ctl.change_log import run_logged

            run = partial(run_logged, words, context, arguments, run)
        on_screen = arguments.flag("--watch") and arguments.text("--output") != "jsonl"
        code: int = _watch(context, arguments, run) if on_screen else run()
        code = code or (Exit.NO if context.incomplete else Exit.DONE)
    finally:
        context.close()
    return code


def _watch(context: Context, arguments: Arguments, run: Callable[[], int]) -> NoReturn:
    from queued.ctl.screen import watch

    watch(context, arguments, run)


def _version() -> int:
    from queued import __version__

    print_out(f"queuectl {__version__}")
    return Exit.DONE


def _command_index(argv: list[str]) -> int:
    """Returns where the command word stands: after the options that may precede it."""
    at = 0
    while at < len(argv) and argv[at].partition("=")[0] in _LEADING:
        at += 2 if argv[at] in {"--db", "--config"} else 1
    return min(at, len(argv))


def _without_alias(rest: list[str]) -> list[str]:
    return [*ALIASES.get(rest[0], rest[0]).split(), *rest[1:]] if rest and rest[0] else rest


def _options(rest: list[str]) -> list[str]:
    """Returns the words among which --help and --version are options of queuectl."""
    if rest[:1] == ["enqueue"]:
        return rest[: 1 + split_words(usage_of("enqueue"), rest[1:]).first]
    return rest[: rest.index("--")] if "--" in rest else rest


def _help(words: list[str]) -> int:
    """Prints the usage text of a command, of a group of commands, or of the program."""
    named = [word for word in words if not word.startswith("-") and word != "help"]
    named = _without_alias(named)
    exact = [" ".join(named[:n]) for n in (2, 1) if " ".join(named[:n]) in COMMANDS]
    group = [words for words in COMMANDS if named and words.startswith(f"{named[0]} ")]
    if named and not exact and not group:
        _command(named)
    texts = [usage_of(words) for words in exact[:1] or group]
    print_out("\n".join(texts or [TOP]).rstrip())
    return Exit.DONE


def _command(rest: list[str]) -> str:
    """Returns the word or two that name the command. Raises UsageError that names a similar one."""
    if not rest:
        msg = "a command is missing"
        raise BadArgumentsError(msg, TOP.rstrip())
    for count in (1, 2):
        words = " ".join(rest[:count])
        if words in COMMANDS and len(words.split()) == len(rest[:count]):
            return words
    verbs = [words.split()[1] for words in COMMANDS if words.startswith(f"{rest[0]} ")]
    if verbs:
        given = f", not {rest[1]!r}{did_you_mean(rest[1], verbs)}" if rest[1:] else ""
        msg = f"{rest[0]} takes {', '.join(verbs[:-1])} or {verbs[-1]}{given}"
        raise UsageError(msg)
    kind = "option" if rest[0].startswith("-") else "command"
    known = dict.fromkeys([words.split()[0] for words in COMMANDS] + list(ALIASES))
    msg = f"unknown {kind} {rest[0]!r}{did_you_mean(rest[0], known)} (see: queuectl --help)"
    raise UsageError(msg)


def _module(words: str) -> ModuleType:
    name = f"queued.ctl.{COMMANDS[words]}"
    __import__(name)  # importlib has the same, but loads warnings, too
    return sys.modules[name]


def usage_of(words: str) -> str:
    """Returns the usage text of a command."""
    text: str = getattr(_module(words), _verb(words).upper())
    return text


def _verb(words: str) -> str:
    return words.rpartition(" ")[2].replace("-", "_")


def _function(words: str) -> str:
    verb = _verb(words)
    return f"{verb}_" if verb in _BUILTIN_NAMES else verb


def _parse(words: str, usage: str, argv: list[str]) -> Arguments:
    from docopt import DocoptExit, docopt

    if words == "enqueue":
        argv = mark_command(usage, argv)
    options = argv[: argv.index("--")] if "--" in argv else argv
    try:
        given = docopt(relevant_usage(usage, options), [*words.split(), *argv], default_help=False)
    except DocoptExit:
        raise BadArgumentsError(explain(usage, argv), usage_lines(usage)) from None
    return Arguments(given)
