"""The name of a process, as `ps -o comm`, `top` and `pgrep -x` show it.

The command line of a process is left alone: a longer title would overwrite the environment, in
which a rescue looks for the mark of a run.
"""

from queued.service.linux import libc

_PR_SET_NAME = 15


def set_name(name: str) -> None:
    """Names this process; the kernel keeps 15 bytes."""
    libc.C.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
