"""The cost of an idle service."""

import os
import time
from contextlib import closing

from queued.core import times
from queued.core.schedules import new_schedule
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.bench.measure import Row, Size, at_most, place, service
from tests.process_figures import cpu_s, memory_kib, sleeps

_SCHEDULES = 10_000


def nothing_to_do(size: Size) -> list[Row]:
    """Wake-ups and CPU time of the whole instance while it is idle, also with many schedules."""
    with place() as directory:
        alone = _idle(size, os.path.join(directory, "queue.db"), "")
    with place() as directory:
        path = os.path.join(directory, "queue.db")
        _add_schedules(path)
        return [alone, _idle(size, path, f" with {_SCHEDULES:,} schedules")]


def _add_schedules(path: str) -> None:
    """Adds schedules that are not due soon."""
    SqliteStore(path).close()
    yearly = new_schedule("s", "@yearly", "UTC", {"command": "true"})
    with closing(SqliteLedger(path, BusyHandler(5))) as ledger, ledger.transaction():
        wanted = [yearly._replace(name=f"s{n}") for n in range(_SCHEDULES)]
        ledger.schedules.keep_equal(wanted, "bench", now_ms=times.now_ms())


def _idle(size: Size, path: str, where: str) -> Row:
    with service(path, 8) as process:
        time.sleep(0.5)
        pids = _tree(process.pid)
        before = sum(map(sleeps, pids)), sum(map(cpu_s, pids))
        time.sleep(size.long_s)
        wakes, spent_s = sum(map(sleeps, pids)) - before[0], sum(map(cpu_s, pids)) - before[1]
    detail = f"{spent_s * 1000:.0f} ms of CPU, {len(pids)} processes"
    return at_most(f"idle for {size.long_s:g} s{where}: wake-ups", "-", wakes, 0, detail)


def memory(_size: Size) -> list[Row]:
    """PSS of an idle instance, and of each further worker."""
    small, large = _pss_mib(8), _pss_mib(24)
    each = (large - small) / 16
    return [
        at_most("memory (PSS) with 8 workers, MiB", "-", small, 60),
        at_most("memory of each further worker, MiB", "-", each, 4),
    ]


def _pss_mib(workers: int) -> float:
    with place() as directory, service(os.path.join(directory, "queue.db"), workers) as process:
        time.sleep(1)
        return sum(memory_kib(pid, "Pss") for pid in _tree(process.pid)) / 1024


def _tree(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [pid, *map(int, file.read().split())]
