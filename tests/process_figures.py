"""Figures of a running process from /proc: its CPU time, its memory, how often it slept."""

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Returns the CPU time of the process, user and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sleeps(pid: int) -> int:
    """Returns how often the process has gone to sleep."""
    return _field(f"/proc/{pid}/status", "voluntary_ctxt_switches")


def memory_kib(pid: int, kind: str) -> int:
    """Returns the `Pss` or `Rss` of the process, in KiB."""
    return _field(f"/proc/{pid}/smaps_rollup", kind)


def _field(path: str, name: str) -> int:
    lines = Path(path).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
