"""Starts `queued` with dispatchers that die at a statement: the first at its first, and so on.

    python -m tests.crash.die_at_statement GENERATIONS STEP queued ARGUMENT...

GENERATIONS is a file that grows by a byte for each dispatcher. Each dispatcher runs STEP statements
more than the one before it; dispatchers after number LAST are not killed.
"""

import os
import signal
import sys
from typing import Any

import apsw

from queued.service.instance import InstancePrograms
from queued.service.supervisor import children
from tests.crash.kill_points import run

LAST = 90


def die_at(number: int) -> None:
    """Kills this process before the n-th statement from now, on any connection."""
    left = number

    def trace(_cursor: Any, _statement: str, _values: Any) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def watch(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(watch)


def main() -> None:
    """See the module."""
    _, generations, step, program, *arguments = sys.argv
    plain = InstancePrograms.run_dispatcher

    def doomed(self: InstancePrograms, *ends: Any) -> int:
        with open(generations, "ab") as file:
            file.write(b".")
            generation = file.tell()
        if generation <= LAST:
            die_at(generation * int(step))
        return plain(self, *ends)

    setattr(InstancePrograms, "run_dispatcher", doomed)  # noqa: B010 - mypy forbids the other
    setattr(children, "restart_s", lambda _deaths: 0.0)  # noqa: B010 - the same
    run(program, arguments)


if __name__ == "__main__":
    main()
