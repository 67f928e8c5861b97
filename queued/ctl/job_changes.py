"""Jobs as JSON objects: each once, or again after each change (`list --watch -o jsonl`)."""

import gc
import sys
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import NoReturn

from queued.core.model import Label
from queued.core.records import Job, JobFilter
from queued.core.times import monotonic_s, now_ms
from queued.ctl.change_watch import Watch
from queued.ctl.context import Context
from queued.ctl.json_records import job_record
from queued.ctl.live_services import BlockReasons
from queued.ctl.render import json_text, print_out

_PAGE = 500
_SCANNING = 0.1  # the part of its time that the process may search for changed jobs
# A change may be committed that long after the time that it has, and hosts differ in their clocks.
_OVERLAP_MS = 60_000


def records(context: Context, jobs: Iterable[Job]) -> Iterator[dict[str, object]]:
    """Yields jobs as JSON objects, each with the last run of the job."""
    jobs = iter(jobs)
    reasons = BlockReasons(context)
    while page := list(islice(jobs, _PAGE)):
        last = context.store.last_attempts(page)
        yield from (job_record(job, last.get(job.seq), reasons.of_job(job)) for job in page)


def print_changes(context: Context, wanted: JobFilter, named: Collection[int]) -> NoReturn:
    """Prints a line for each job that matches, and again after each change, until a signal.

    `named`: only these rows; none: all. A state that a job has left before the next search is left
    out. A search reads what has changed since the one before.
    """
    gc.enable()  # `program` turns it off for short commands
    stream = _Stream(context, wanted, named)
    with closing(Watch(context.store)) as watch:
        while True:
            with watch.outages():
                began_s = monotonic_s()
                stream.print_new()
                pause_s = (monotonic_s() - began_s) / _SCANNING
                watch.wait()
                time.sleep(max(0.0, began_s + pause_s - monotonic_s()))


class _Stream:
    """Prints each job in each of its states once."""

    def __init__(self, context: Context, wanted: JobFilter, named: Collection[int]) -> None:
        self._context = context
        self._wanted = wanted
        self._named = named
        self._since_ms = wanted.since_ms or 0
        self._searched_ms = now_ms()
        # What was printed of jobs that the next search finds again: their last change.
        self._printed: dict[int, tuple[Label, int, int]] = {}
        self._next = deque[tuple[int, tuple[Label, int, int]]]()  # of jobs that are being printed

    def print_new(self) -> None:
        """Prints the jobs that have changed since the last call. Raises DisconnectedError."""
        now = now_ms()
        # Also after a step back of the clock.
        next_ms = max(self._wanted.since_ms or 0, min(now, self._searched_ms) - _OVERLAP_MS)
        found = self._wanted._replace(since_ms=self._since_ms, now_ms=now)
        jobs = (job.seen_at(now) for job in self._context.store.list(found))
        self._next.clear()  # a connection may have been lost before they were printed
        for record in records(self._context, self._fresh(jobs)):
            print_out(json_text(record))
            seq, change = self._next.popleft()
            self._printed[seq] = change
        sys.stdout.flush()
        self._printed = {seq: at for seq, at in self._printed.items() if at[2] >= next_ms}
        self._since_ms, self._searched_ms = next_ms, now

    def _fresh(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            change = (job.label, job.runs, job.updated_ms)
            asked = not self._named or job.seq in self._named
            if asked and self._printed.get(job.seq) != change:
                self._next.append((job.seq, change))
                yield job
