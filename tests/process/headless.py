"""A process whose first thread has ended while another one lives: /proc shows it as `Z`.

    python -S tests/process/headless.py PIDFILE

writes its pid to PIDFILE.
"""

import ctypes
import os
import shlex
import sys
import threading
import time
from pathlib import Path


def command(pid_file: Path) -> str:
    """Returns the command that becomes such a process and writes its pid to the file."""
    return shlex.join(["exec", sys.executable, "-S", __file__, str(pid_file)])


def pid_of(pid_file: Path) -> int | None:
    """Returns the pid of that process once its first thread has ended; None before that."""
    try:
        pid = int(pid_file.read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ValueError):
        return None
    return pid if state == "Z" else None


def main() -> None:
    """See the module."""
    threading.Thread(target=time.sleep, args=(1000,)).start()
    made = f"{sys.argv[1]}.{os.getpid()}"
    Path(made).write_text(str(os.getpid()))
    Path(made).rename(sys.argv[1])
    ctypes.CDLL(None).pthread_exit(None)


if __name__ == "__main__":
    main()
