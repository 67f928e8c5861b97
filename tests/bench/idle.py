"""The cost of an idle service."""

import os
import time
from typing import NamedTuple

from tests.bench.measure import Row, Size, place, service, verdict


def nothing_to_do(size: Size) -> list[Row]:
    """Wake-ups and CPU time of the whole instance while it is idle."""
    with place() as directory, service(os.path.join(directory, "queue.db"), 8) as process:
        time.sleep(0.5)
        pids = _tree(process.pid)
        before = [_cost(pid) for pid in pids]
        time.sleep(size.long_s)
        after = [_cost(pid) for pid in pids]
    wakes = sum(b.switches - a.switches for a, b in zip(before, after, strict=True))
    ticks = sum(b.ticks - a.ticks for a, b in zip(before, after, strict=True))
    detail = f"{ticks * 1000 // os.sysconf('SC_CLK_TCK')} ms of CPU, {len(pids)} processes"
    return [
        Row(
            f"idle for {size.long_s:g} s: wake-ups", "-", wakes, "0", detail, verdict(wakes, most=0)
        )
    ]


def memory(_size: Size) -> list[Row]:
    """PSS of an idle instance, and of each further worker."""
    small, large = _pss_mib(8), _pss_mib(24)
    each = (large - small) / 16
    return [
        Row(
            "memory (PSS) with 8 workers, MiB",
            "-",
            small,
            "<= 60",
            met=verdict(small, most=60),
        ),
        Row("memory of each further worker, MiB", "-", each, "<= 4", met=verdict(each, most=4)),
    ]


def _pss_mib(workers: int) -> float:
    with place() as directory, service(os.path.join(directory, "queue.db"), workers) as process:
        time.sleep(1)
        return sum(map(_pss_kib, _tree(process.pid))) / 1024


def _pss_kib(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def _tree(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [pid, *map(int, file.read().split())]


class _Cost(NamedTuple):
    switches: int  # voluntary ones: one for each time that it went to sleep
    ticks: int  # of CPU time


def _cost(pid: int) -> _Cost:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        switches = next(int(x.split()[1]) for x in file if x.startswith("voluntary_ctxt_switches"))
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return _Cost(switches, int(fields[11]) + int(fields[12]))
