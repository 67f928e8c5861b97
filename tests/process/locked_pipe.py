"""A command that locks the pipe of its output, so that the read of its worker waits in the kernel.

The pipe is locked while splice(2) waits for its source. It has something to read when the worker,
which the command stops meanwhile, goes on.
"""

import shlex

_PROGRAM = """
import os, signal, socket, time
source, other = socket.socketpair()
worker = os.getppid()
os.kill(worker, signal.SIGSTOP)
os.write(1, b"hello")
if os.fork():
    os.splice(source.fileno(), 1, 65536)
time.sleep(0.3)
os.kill(worker, signal.SIGCONT)
"""


def command(python: str) -> str:
    """Returns the command, which this Python runs."""
    return f"exec {shlex.join([python, '-S', '-c', _PROGRAM])}"
