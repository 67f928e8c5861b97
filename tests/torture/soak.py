"""A million jobs without harm: none is lost, and memory, descriptors and the WAL do not grow.

One job in a thousand writes a trace. The checker reads the jobs in slices, to save memory.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from queued.core.job_spec import new_job
from queued.core.model import NewJob
from queued.core.records import Job, JobFilter
from queued.core.times import now_ms
from queued.service.linux import procfs, run_mark
from tests.process_figures import memory_kib
from tests.service import Queue, Service
from tests.torture import history
from tests.torture.checker import check
from tests.torture.history import History, traced

_BATCH = 1_000
_BACKLOG = 20_000
_SLICE = 20_000
_WARM = 0.1  # after this share of the jobs, memory must not grow
_WAL_MOST = 64 << 20
_GROWTH_MOST_KIB = 4 << 10


class Sample(NamedTuple):
    """The jobs done so far, and the memory and descriptors of each process of the service."""

    done: int
    at_s: float
    wal_bytes: int
    pss_kib: dict[str, int]
    rss_kib: dict[str, int]
    descriptors: dict[str, int]


class Soak:
    """A service with so many jobs. `tell` is called with each sample, as a line of JSON."""

    def __init__(
        self, directory: Path, jobs: int, tell: Callable[[str], None] = lambda _line: None
    ) -> None:
        self._tell = tell
        self.jobs = jobs
        self.traces = directory / "traces"
        self.traces.mkdir()
        (directory / "db").mkdir(mode=0o700)
        self.queue = Queue(directory / "db")
        self.samples: list[Sample] = []
        self.took_s = 0.0

    def run(self) -> list[str]:
        """Enqueues all jobs, waits for them, stops the service; returns the broken promises."""
        service = self.queue.spawn("--log-level", "warning", workers=4)
        began_s, asked, looked_s = time.monotonic(), 0, 0.0
        while (done := self._done()) < self.jobs:
            if asked < self.jobs and asked - done < _BACKLOG:
                batch = [self._job(n) for n in range(asked, min(asked + _BATCH, self.jobs))]
                self.queue.store.enqueue(batch, max_retries=3, now_ms=now_ms())
                asked += len(batch)
                continue
            assert service.process.poll() is None
            if time.monotonic() - looked_s > min(10.0, self.jobs / 20_000):
                looked_s = time.monotonic()
                self._sample(service, done, looked_s - began_s)
            time.sleep(0.02)
        self.took_s = time.monotonic() - began_s
        self._sample(service, self.jobs, self.took_s)
        (instance,) = self.queue.store.instances()
        assert service.stop() == 0
        left = [
            f"left_behind: {found.process.pid}" for found in run_mark.marked_processes(instance.id)
        ]
        return [*left, *self._wasted(), *broken_promises(self.queue, self.traces, self.jobs)]

    def _job(self, n: int) -> NewJob:
        command = {0: "exit 3", 1: "echo 1", 2: "seq 2000"}.get(n % 100, ":")
        if n % 1000 == 0:
            command = traced(self.traces, "true")
        return new_job({"id": f"s{n}", "command": command, "max_retries": 1})

    def _done(self) -> int:
        counts = self.queue.store.status(now_ms=now_ms()).counts
        return sum(n for label, n in counts.items() if label in ("completed", "dead"))

    def _sample(self, service: Service, done: int, at_s: float) -> None:
        self.samples.append(self._look(service, done, round(at_s, 1)))
        self._tell(json.dumps(self.samples[-1]._asdict()))

    def _look(self, service: Service, done: int, at_s: float) -> Sample:
        children = [p for p in procfs.descendants(service.pid) if p.parent == service.pid]
        members = {"supervisor": service.pid} | {
            f"worker {slot}" if slot else "dispatcher": process.pid
            for slot, process in enumerate(sorted(children, key=lambda p: (p.started, p.pid)))
        }
        wal = f"{self.queue.path}-wal"
        return Sample(
            done,
            at_s,
            os.stat(wal).st_size if os.path.exists(wal) else 0,
            {name: memory_kib(pid, "Pss") for name, pid in members.items()},
            {name: memory_kib(pid, "Rss") for name, pid in members.items()},
            {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in members.items()},
        )

    def _wasted(self) -> Iterator[str]:
        """Yields what has grown since the first tenth of the jobs."""
        warm = next(one for one in self.samples if one.done >= self.jobs * _WARM)
        last = self.samples[-1]
        for name, kib in last.pss_kib.items():
            if kib > warm.pss_kib.get(name, 0) + _GROWTH_MOST_KIB:
                yield f"grown: {name} from {warm.pss_kib.get(name)} to {kib} KiB"
            if last.descriptors[name] > warm.descriptors.get(name, 0) + 2:  # a run has a pipe
                yield f"grown: {name} has {last.descriptors[name]} descriptors"
        if (most := max(one.wal_bytes for one in self.samples)) > _WAL_MOST:
            yield f"grown: the WAL to {most} bytes"

    def report(self, broken: list[str]) -> str:
        """Returns the figures as JSON."""
        step = max(1, len(self.samples) // 20)
        return json.dumps(
            {
                "jobs": self.jobs,
                "seconds": round(self.took_s, 1),
                "jobs_a_second": round(self.jobs / self.took_s),
                "database_bytes": os.stat(self.queue.path).st_size,
                "wal_bytes_most": max(one.wal_bytes for one in self.samples),
                "samples": [one._asdict() for one in [*self.samples[:-1:step], self.samples[-1]]],
                "broken": broken,
            },
            indent=1,
        )


def broken_promises(queue: Queue, traces: Path, jobs: int) -> list[str]:
    """Returns the broken promises of a queue whose jobs have ended."""
    found: Counter[str] = Counter()
    broken_promises: list[str] = []
    missing = {f"s{n}" for n in range(jobs)}
    listed = queue.store.list(JobFilter())
    while part := list(islice(listed, _SLICE)):
        found.update(str(job.label) for job in part)
        missing -= {job.id for job in part}
        broken_promises += _broken(queue, traces, part)
    integrity = history.read_integrity(queue.path)
    if integrity.counts != found:
        broken_promises.append(
            f"miscounted_labels: the table says {integrity.counts}, there are {dict(found)}"
        )
    broken_promises += [f"lost: {name}" for name in sorted(missing)]
    return [*broken_promises, *(f"damaged: {line}" for line in integrity.damage)]


def _broken(queue: Queue, traces: Path, part: list[Job]) -> list[str]:
    """Checks some of the jobs; of those without a trace, not whether they ran."""
    files = {job.id: traces / f"{job.id}.trace" for job in part}
    known = History(
        jobs={job.id: job for job in part},
        attempts={job.id: list(queue.store.attempts(job.seq)) for job in part},
        counts=dict(Counter(str(job.label) for job in part)),
        traces={name: history.marks(file) for name, file in files.items() if file.exists()},
        output={(job.id, 1): _output(queue, job) for job in part},
        asked=set(files),
        prints={job.id: _printed(job) for job in part},
    )
    untraced = files.keys() - known.traces.keys()
    told = (line.split() for line in check(known))
    return [" ".join(words) for words in told if words[0] != "untold:" or words[1] not in untraced]


def _output(queue: Queue, job: Job) -> bytes:
    return b"".join(chunk.content for chunk in queue.store.output(job.seq, 1, 1))


def _printed(job: Job) -> bytes:
    lines = {"echo 1": 1, "seq 2000": 2000}.get(job.command, 0)
    return b"".join(b"%d\n" % n for n in range(1, lines + 1))
