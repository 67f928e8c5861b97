"""Writes the changes that a user makes with queuectl to the log of the system.

A line has the user, the command, the filter and the number of jobs.

Values that may be secret (variables, commands, settings) are not written, only their names.
"""

import contextlib
import os
from collections.abc import Callable

from queued.core.errors import Exit
from queued.ctl.arguments import Arguments
from queued.ctl.context import Context
from queued.ctl.filters import FILTERS
from queued.ctl.render import escaped, shell_line

_SHOWN = {*FILTERS, "--reason", "--before", "--concurrency", "--rate", "--weight"} - {"--command"}
_NAMES = ("JOB", "JOBS", "SIGNAL", "QUEUE", "QUEUES", "SCHEDULE", "SCHEDULES", "NAME", "KEY")
_OTHERS = ("queue", "schedule", "host", "config")  # their success is a change
_MOST = 900  # characters: syslogs take a line of 1,024 bytes at least
_LOG = "/dev/log"
_PRIORITY = 13  # user.notice


def run_logged(words: str, context: Context, arguments: Arguments, run: Callable[[], int]) -> int:
    """Runs a command and logs it if it has changed something, also if it fails then."""
    code = None
    try:
        code = run()
    finally:
        settled = code == Exit.DONE and words.startswith(_OTHERS) and words != "queue clear"
        if context.changed or settled:
            _log(words, context, arguments)
    return code


def _log(words: str, context: Context, arguments: Arguments) -> None:
    jobs = f" jobs={context.changed}" if context.changed else ""
    told = " ".join([words, *_given(arguments)])
    line = escaped(f"user={_user()} database={context.database}{jobs} command=queuectl {told}")
    _send(line if len(line) <= _MOST else f"{line[:_MOST]}...")


def _send(line: str) -> None:
    """Sends a line to the log of the system; drops it if the log cannot take it at once.

    syslog(3) would wait for a log that is stuck, and the user could not end that with Ctrl-C.
    Many containers have no log.
    """
    import socket
    import time

    text = f"<{_PRIORITY}>{time.strftime('%b %e %H:%M:%S')} queuectl[{os.getpid()}]: {line}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.settimeout(0)
        log.connect(_LOG)
        log.send(text.encode(errors="replace"))


def _given(arguments: Arguments) -> list[str]:
    """Returns the options and names of the command line, without values that may be secret."""
    options = []
    for option in sorted(arguments.given()):
        fields = dict.fromkeys(text.partition("=")[0] for text in arguments.texts(option))
        value = arguments.text(option) if option in _SHOWN else ",".join(fields)
        options.append(f"{option} {shell_line([value])}" if value else option)
    words = (word for name in _NAMES for word in arguments.words(name))
    return [*options, *(shell_line([word]) for word in words)]


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
