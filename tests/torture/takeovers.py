"""How long a job was without a living process before its next run began on another host.

All processes of a run have its mark, so a look at all processes shows which runs are alive. This
is a witness beside the traces and locks of the commands.
"""

import time
import zlib
from itertools import pairwise
from statistics import median

from queued.core import times
from queued.core.records import Attempt
from queued.service.linux import procfs, run_mark
from tests.torture.history import History

_INTERVAL_S = 0.4
_NAME = (1 << 60) - 1  # the bits of a mark that name the instance and the run
_RUN_BITS = 28


class Takeovers:
    """The time at which each run was last seen alive, in seconds since boot."""

    def __init__(self) -> None:
        self._seen_s: dict[int, float] = {}
        self._next_s = 0.0

    def look(self) -> None:
        """Notes which runs are alive, at intervals."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _INTERVAL_S
        for process in procfs.all_processes().values():
            if process.dead or procfs.read(f"/proc/{process.pid}/comm").startswith(b"queued:"):
                continue  # a worker keeps the mark of its last run
            if (mark := run_mark.of_process(process.pid)) is not None:
                self._seen_s[mark & _NAME] = times.boot_s()

    def gaps_s(self, history: History) -> list[float]:
        """Returns the time from the last sign of a run to the next run, if on another instance."""
        found = []
        for name, runs in history.attempts.items():
            starts = {
                m.attempt: m.at_cs / 100 for m in history.traces.get(name, ()) if m.word == "start"
            }
            for before, after in pairwise(runs):
                seen_s, start_s = self._seen_s.get(_name(name, before)), starts.get(after.number)
                if before.instance != after.instance and seen_s is not None and start_s is not None:
                    found.append(round(start_s - seen_s, 2))
        return sorted(found)

    def report(self, history: History) -> dict[str, float]:
        """Returns the number of gaps, and the shortest, the median and the longest one in s."""
        gaps_s = self.gaps_s(history)
        if not gaps_s:
            return {"gaps": 0}
        return {
            "gaps": len(gaps_s),
            "least_s": gaps_s[0],
            "median_s": median(gaps_s),
            "most_s": gaps_s[-1],
        }


def _name(job: str, run: Attempt) -> int:
    checksum = zlib.crc32(f"{job} {run.number}".encode()) & ((1 << _RUN_BITS) - 1)
    return zlib.crc32((run.instance or "").encode()) << _RUN_BITS | checksum
