"""`queuectl`: finds the command's module, has docopt read its usage text, and ends with its code.

What goes wrong is one line on standard error. A command's function has the name of its verb, and
its usage text the same name in capitals.
"""

import gc
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from queued.core.errors import Exit, QueuedError, UsageError
from queued.core.suggestions import nearest
from queued.ctl.arguments import Arguments, BadArgumentsError, relevant
from queued.ctl.context import BUSY_LIMIT_S, Context
from queued.ctl.render import put, say
from queued.usage_errors import explain, usage_lines

TOP = """\
queuectl: a durable queue of shell commands

Usage: queuectl [--db PATH] [--config PATH] COMMAND ...

  enqueue JSON | - | -- WORDS...  add jobs
  list                            jobs, oldest first
  show JOB                        everything about a job
  logs JOB                        what a job printed
  wait JOBS...                    wait for the end of jobs
  cancel JOBS...                  end jobs for good
  status                          how many jobs stand where
  purge                           remove jobs that have ended

  dlq list | retry                the dead jobs; back to the queue with them
  worker start | stop | list      the services that run jobs
  config list | get | set | unset
                                  the settings
  db check | backup | restore | vacuum | stats
                                  the database as a whole

Every command takes --json, and explains itself with --help.
"""

COMMANDS = {
    "enqueue": "enqueue",
    "list": "jobs",
    "show": "jobs",
    "logs": "logs",
    "wait": "wait",
    "cancel": "jobs",
    "status": "jobs",
    "purge": "purge",
    "dlq list": "dlq",
    "dlq retry": "dlq",
    "worker start": "workers",
    "worker stop": "workers",
    "worker list": "workers",
    "config list": "config",
    "config get": "config",
    "config set": "config",
    "config unset": "config",
    "db check": "db",
    "db backup": "db",
    "db restore": "db",
    "db vacuum": "db",
    "db stats": "db",
}
_BUILTIN_NAMES = {"list", "set"}  # the function is `list_`, as PEP 8 has it
_LEADING = ("--db", "--config", "--json")


def program() -> NoReturn:
    """The program: `main`, and no more. What Python would tidy up at its exit takes 2 ms."""
    os._exit(main())


def main(argv: list[str] | None = None, *, busy_limit_s: float = BUSY_LIMIT_S) -> int:
    """Runs `queuectl` with the words `argv` and returns its exit code. Never raises."""
    if sys.stdout is None:
        say("queuectl: standard output is closed; nothing was done")
        return Exit.IO
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    gc.disable()  # what we make is bounded and soon gone: a tenth of the start would be looking
    try:
        code = _run(sys.argv[1:] if argv is None else argv, busy_limit_s)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _drop_output()
        code = 130
    except Exception as error:  # noqa: BLE001  nobody shall see a traceback
        code = _fail(error)
    return code


def _fail(error: Exception) -> int:
    """Says what went wrong in one line; the exit code."""
    match error:
        case BrokenPipeError():
            _die_of_sigpipe()
        case BadArgumentsError():
            say(f"queuectl: {error}\n{error.usage}")
        case QueuedError():
            say(f"queuectl: {error}")
        case OSError():
            say(f"queuectl: {error.filename or 'cannot write the result'}: {error.strerror}")
        case _:
            say(f"queuectl: a defect of ours: {error!r} {_place(error)}; please report it")
    _drop_output()
    if isinstance(error, OSError):
        return Exit.DENIED if isinstance(error, PermissionError) else Exit.IO
    return error.exit_code if isinstance(error, QueuedError) else Exit.INTERNAL


def _die_of_sigpipe() -> None:
    """Ends as a program does whose reader has gone: quietly, by the signal."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)


def _drop_output() -> None:
    """What is left is written, or nobody tries again: Python would at its exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return (
        f"at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        if trace
        else ""
    )


def _run(argv: list[str], busy_limit_s: float) -> int:
    leading, rest = _split_leading(argv)
    options = _options(rest)
    if "--version" in options:
        from queued import __version__

        put(f"queuectl {__version__}")
        return Exit.DONE
    if rest[:1] == ["help"]:
        return _help(rest[1:])
    if "-h" in options or "--help" in options:
        return _help(options)
    words = _command(rest)
    module, usage = _module(words), usage_of(words)
    arguments = _parse(words, usage, leading + rest[len(words.split()) :])
    context = Context(arguments, busy_limit_s)
    try:
        code: int = getattr(module, _function(words))(context, arguments)
    finally:
        context.close()
    return code


def _split_leading(argv: list[str]) -> tuple[list[str], list[str]]:
    """The options before the command word, and the rest."""
    at = 0
    while at < len(argv) and argv[at].partition("=")[0] in _LEADING:
        takes_next = argv[at] in {"--db", "--config"}
        at += 2 if takes_next else 1
    return argv[:at], argv[at:]


def _options(argv: list[str]) -> list[str]:
    """The words up to `--`; those after it are never options."""
    return argv[: argv.index("--")] if "--" in argv else argv


def _help(words: list[str]) -> int:
    """Prints the usage text of a command, of all that begin so, or of the whole program."""
    named = [word for word in words if not word.startswith("-")]
    exact = [" ".join(named[:n]) for n in (2, 1) if " ".join(named[:n]) in COMMANDS]
    group = [words for words in COMMANDS if named and words.startswith(f"{named[0]} ")]
    if named and not exact and not group:
        _command(named)
    texts = [usage_of(words) for words in exact[:1] or group]
    put("\n".join(texts or [TOP]).rstrip())
    return Exit.DONE


def _command(rest: list[str]) -> str:
    """The word or two that name the command. Raises BadArgumentsError that names the nearest."""
    if not rest:
        msg = "which command?"
        raise BadArgumentsError(msg, TOP.rstrip())
    for count in (1, 2):
        words = " ".join(rest[:count])
        if words in COMMANDS and len(words.split()) == len(rest[:count]):
            return words
    verbs = [words.split()[1] for words in COMMANDS if words.startswith(f"{rest[0]} ")]
    if verbs:
        given = f", not {rest[1]!r}{nearest(rest[1], verbs)}" if rest[1:] else ""
        msg = f"{rest[0]} takes {', '.join(verbs[:-1])} or {verbs[-1]}{given}"
        raise UsageError(msg)
    kind = "option" if rest[0].startswith("-") else "command"
    known = dict.fromkeys(words.split()[0] for words in COMMANDS)
    msg = f"unknown {kind} {rest[0]!r}{nearest(rest[0], known)} (see: queuectl --help)"
    raise UsageError(msg)


def _module(words: str) -> ModuleType:
    return import_module(f"queued.ctl.{COMMANDS[words]}")


def usage_of(words: str) -> str:
    """The usage text of a command."""
    text: str = getattr(_module(words), words.rpartition(" ")[2].upper())
    return text


def _function(words: str) -> str:
    verb = words.rpartition(" ")[2]
    return f"{verb}_" if verb in _BUILTIN_NAMES else verb


def _parse(words: str, usage: str, argv: list[str]) -> Arguments:
    from docopt import DocoptExit, docopt

    options = _options(argv)
    try:
        given = docopt(relevant(usage, options), [*words.split(), *argv], default_help=False)
    except DocoptExit as error:
        message = explain(str(error).partition("\n")[0], usage, options)
        raise BadArgumentsError(message, usage_lines(usage)) from None
    return Arguments(given)


if __name__ == "__main__":
    program()
