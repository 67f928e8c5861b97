"""A queue whose commands write a trace, services with a kill point, and the checker at the end."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from queued.core.model import State
from tests.crash.kill_points import POINTS
from tests.service import Queue, Service, cleaned_up, eventually, run_python
from tests.torture import history
from tests.torture.checker import check
from tests.torture.history import History, traced
from tests.torture.log_evidence import logged_results, outliving_processes


class KillScenario:
    """The jobs that were asked for and acknowledged; `mark` is made when the kill point fires."""

    def __init__(self, directory: Path) -> None:
        self.traces = directory / "traces"
        self.traces.mkdir()
        (directory / "db").mkdir(mode=0o700)
        self.queue = Queue(directory / "db")
        self.mark = directory / "mark"
        self.acknowledged: set[str] = set()
        self.asked: set[str] = set()
        self.prints: dict[str, bytes] = {}

    def add(self, name: str, command: str, *, prints: bytes = b"", **fields: Any) -> str:
        """Enqueues a job that writes a trace; it is retried often and soon."""
        given = {"max_retries": 5, "backoff_base": 1, "backoff_max": 0.05, "kill_grace": 0.2}
        self.asked.add(name)
        self.queue.add(traced(self.traces, command), id=name, **(given | fields))
        self.acknowledged.add(name)
        if prints:
            self.prints[name] = prints
        return name

    def started(self, name: str) -> list[int]:
        """Returns the attempts of a job that have begun, from its trace."""
        path = self.traces / f"{name}.trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith("start ")]

    def serve(self, *program: str, workers: int = 2) -> Service:
        """Starts a service, or a program that becomes one, and does not wait."""
        return self.queue.spawn(workers=workers, program=program or ("-m", "queued"))

    def serve_armed(self, point: str, victim: str, *, workers: int = 2) -> Service:
        """Starts a service in which the first process that reaches the point is killed."""
        assert point in POINTS
        words = ("-m", "tests.crash.kill_points", point, victim, str(self.mark), "queued")
        return self.serve(*words, workers=workers)

    def queuectl(self, point: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a queuectl that is killed at the point."""
        words = ["-m", "tests.crash.kill_points", point, "one", str(self.mark), "queuectl"]
        return run_python(*words, "--db", self.queue.path, *arguments)

    def wait_until_killed(self) -> None:
        """Waits until a process was killed at the point."""
        eventually(self.mark.exists, "the kill point is reached")

    def finish(self, within_s: float = 20) -> History:
        """Waits for all jobs, stops the services; returns what the checker needs."""
        for name in sorted(self.acknowledged):
            self.queue.wait(name, within_s=within_s)
        eventually(self._all_ended, "the hooks end", within_s)
        return self.known()

    def _all_ended(self) -> bool:
        """Reads the jobs and not the counts, which a defect may have made wrong."""
        ended = {State.COMPLETED, State.DEAD, State.CANCELLED}
        return all(job.state in ended for job in self.queue.jobs())

    def ended(self) -> int:
        """Returns how many jobs have ended."""
        return sum(self.queue.count(label) for label in ("completed", "dead", "cancelled"))

    def known(self) -> History:
        """Stops the services; returns what the checker needs."""
        for service in self.queue.services:
            if service.process.poll() is None:
                service.stop()
        known = history.read(self.queue.path, self.traces)
        known.acknowledged = self.acknowledged
        known.asked = self.asked
        known.prints = self.prints
        known.announced = logged_results(self.queue.services)
        known.alive = outliving_processes(self.traces)
        return known

    def broken_promises(self, within_s: float = 20) -> list[str]:
        """Returns the broken promises, once all jobs have ended."""
        return check(self.finish(within_s))


@contextmanager
def temporary_scenario(directory: Path) -> Iterator[KillScenario]:
    """Yields a scenario; kills its processes at the end and prints its logs."""
    scenario = KillScenario(directory)
    with cleaned_up(scenario.queue):
        yield scenario
