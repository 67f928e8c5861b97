"""The hidden command `complete KIND [PREFIX]`: words from the database for a shell's completion.

It prints one word per line, and nothing if the database cannot be read, because the shell would
show a message inside the command line. It never creates, upgrades or writes a database.
"""

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from queued.core.errors import Exit, QueuedError
from queued.ctl.arguments import Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_out

_BUSY_LIMIT_S = 0.2
_ANSWER_LIMIT_S = 2.0  # a shell must not hang if a server does not answer


def complete(leading: Sequence[str], words: Sequence[str]) -> int:
    """Prints the words of a kind that begin with a prefix. Returns 0, or 2 for an unknown kind.

    `leading` are the options before the command, which name the database.
    """
    from queued.store.engine import COMPLETIONS

    kind, prefix = (*words, "", "")[:2]
    if kind not in COMPLETIONS:
        return Exit.USAGE
    context = Context(Arguments(_options(leading)), _BUSY_LIMIT_S)
    signal.setitimer(signal.ITIMER_REAL, _ANSWER_LIMIT_S)  # ends the process
    with suppress(QueuedError, OSError):
        for word in context.maintenance().complete(kind, prefix):
            print_out(word)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return Exit.DONE


def _options(leading: Sequence[str]) -> Mapping[str, object]:
    given: dict[str, object] = {}
    rest = iter(leading)
    for word in rest:
        name, equals, value = word.partition("=")
        if equals:
            given[name] = value
        else:
            given[name] = True if name == "--json" else next(rest, None)
    return given
