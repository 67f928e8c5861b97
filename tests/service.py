"""A real `queued` for a test: started, watched, killed, and gone at the end with all it started."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from queued.core import times
from queued.core.job_spec import new_job
from queued.core.model import Attempt, Job, JobFilter, NewJob
from queued.service.linux import procfs, run_mark
from queued.store.sqlite.client_store import SqliteStore

PATIENCE_S = 20.0
DEBUG = ("--log-level", "debug")
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str = "", within_s: float = PATIENCE_S) -> T:
    """Looks again and again until the answer is true; that answer. Fails after a while."""
    end = time.monotonic() + within_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > end:
            msg = f"not within {within_s} s: {what or look}"
            raise AssertionError(msg)
        time.sleep(0.005)


def _words(pid: int) -> list[bytes]:
    """The command line of a process; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Whether the process runs; not once it has ended."""
    process = procfs.read_process(pid)
    return process is not None and not process.dead


class Queue:
    """A database in a directory, seen through the store, and the services that run on it."""

    def __init__(self, directory: Path, path: str = "") -> None:
        self.directory = directory
        self.path = path or str(directory / "queue.db")
        self.store = SqliteStore(self.path)
        self.services: list[Service] = []

    def serve(self, *flags: str, workers: int = 2, env: dict[str, str] | None = None) -> "Service":
        """Starts a service and waits until it is ready."""
        return self.spawn(*flags, workers=workers, env=env).ready()

    def spawn(
        self,
        *flags: str,
        workers: int = 2,
        env: dict[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "queued"),
    ) -> "Service":
        """Starts a service, or a program that becomes one, and does not wait."""
        service = Service(self, workers, flags, env or {}, program)
        self.services.append(service)
        return service

    def add(self, command: str, **fields: Any) -> str:
        """Enqueues one job as a payload would; its id."""
        jobs = [new_job({"command": command, **fields})]
        return self.store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())[0]

    def add_all(self, commands: Iterable[str], **fields: Any) -> Sequence[str]:
        """Enqueues many jobs in one transaction; their ids."""
        jobs: list[NewJob] = [new_job({"command": command, **fields}) for command in commands]
        return self.store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())

    def job(self, name: str) -> Job:
        """The job as it is now."""
        return self.store.show(self.store.find(name))

    def attempts(self, name: str) -> Sequence[Attempt]:
        """Its runs."""
        return self.store.attempts(self.store.find(name))

    def output(self, name: str, *, attempt: int = 1, stream: int = 1) -> bytes:
        """The kept output of a run."""
        row = self.store.find(name)
        return b"".join(chunk.content for chunk in self.store.output(row, attempt, stream))

    def wait(self, name: str, *labels: str, within_s: float = PATIENCE_S) -> Job:
        """Waits until the job has one of these labels (default: has ended)."""
        wanted = labels or ("completed", "dead", "cancelled")
        eventually(
            lambda: self.job(name).label in wanted, f"{name} {wanted}: {self.job(name)}", within_s
        )
        return self.job(name)

    def wait_all(self, count: int, label: str = "completed", within_s: float = 60) -> None:
        """Waits until so many jobs have this label."""
        eventually(lambda: self.count(label) >= count, f"{count} {label}", within_s)

    def count(self, label: str) -> int:
        """How many jobs have the label."""
        return {str(k): n for k, n in self.store.status(now_ms=times.now_ms()).counts.items()}[
            label
        ]

    def jobs(self) -> list[Job]:
        """All jobs."""
        return list(self.store.list(JobFilter()))

    def file(self, name: str) -> Path:
        """A file for commands to write."""
        return self.directory / name

    def queuectl(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs the real queuectl on this database."""
        return subprocess.run(
            [sys.executable, "-m", "queued.ctl", "--db", self.path, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    def close(self) -> None:
        """Kills what still runs, and checks that nothing was left behind."""
        for service in self.services:
            service.clean_up()
        self.store.close()


class Service:
    """A running `queued` in the foreground, in a process group of its own."""

    def __init__(
        self,
        queue: Queue,
        workers: int,
        flags: tuple[str, ...],
        env: dict[str, str],
        program: tuple[str, ...],
    ) -> None:
        self.queue = queue
        self.log_path = queue.directory / f"log.{len(queue.services)}"
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [
                sys.executable, *program, "--db", queue.path, "--workers", str(workers),
                "--log-format", "json", *([] if "--log-level" in flags else DEBUG), *flags,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            process_group=0,
            env={**os.environ, **env},
        )  # fmt: skip
        self.pid = self.process.pid

    def ready(self) -> "Service":
        """Waits until it says that it is ready."""
        eventually(
            lambda: self.logged("service.ready") or self.process.poll() is not None, "service.ready"
        )
        assert self.process.poll() is None, self.log_path.read_text()
        return self

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of that event with these fields."""
        text = self.log_path.read_text()
        whole = text[: text.rfind("\n") + 1]  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines() if line[:1] == "{"]
        return [
            line
            for line in lines
            if line["event"] == event and all(line.get(k) == v for k, v in fields.items())
        ]

    @property
    def instance(self) -> str:
        """Its id."""
        return str(self.logged("service.started")[0]["instance"])

    def child(self, slot: int) -> int:
        """The pid of the child in the slot now: 0 is the dispatcher, then the workers."""
        return int(self.logged("child.started", slot=slot)[-1]["child_pid"])

    def worker_of(self, name: str) -> int:
        """The pid of the worker that runs the job now."""
        row = self.queue.store.find(name)
        worker = self.queue.store.attempts(row)[-1].worker
        return self.child(worker)

    def replaced(self, slot: int, pid: int) -> int:
        """Waits until the slot has another child than `pid`; its pid."""
        eventually(lambda: self.child(slot) != pid, f"slot {slot} replaced")
        return self.child(slot)

    def descendants(self) -> list[int]:
        """All living processes below the supervisor."""
        return [p.pid for p in procfs.descendants(self.pid) if not p.dead]

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Signals one process of it."""
        os.kill(pid, number)

    def own(self) -> list[procfs.Process]:
        """The supervisor and its living children; pids of dead ones may be others' by now.

        Its log may be late, and tell of a child that has a job already.
        """
        pids = {self.pid, *(int(line["child_pid"]) for line in self.logged("child.started"))}
        pinned = self.process.poll() is None
        return [
            process
            for process in procfs.all_processes().values()
            if not process.dead
            and (process.pid in pids or (pinned and process.parent == self.pid))
            and self.queue.path.encode() in _words(process.pid)
        ]

    def kill_instance(self) -> None:
        """kill -9 of the supervisor, the dispatcher and all workers at once, commands excepted."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # first, and for sure: it lets none go on
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            # The supervisor last: its end makes the kernel have stopped children go on.
            for process in sorted(self.own(), key=lambda own: own.pid == self.pid):
                procfs.send_signal(process, number)
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks it to stop and waits; its exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Waits until it has ended; its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log_path.read_text()) from None

    def clean_up(self) -> None:
        """For the end of a test: nothing of it survives."""
        marks = [mark for line in self.logged("service.started") if (mark := line["instance"])]
        self.kill_instance()
        for mark in marks:
            for found in run_mark.marked_processes(mark):
                procfs.send_signal(found.process, signal.SIGKILL)
        self._log.close()
