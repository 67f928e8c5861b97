"""A real `queued` for a test. At its end all processes that the service started are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from queued.core import times
from queued.core.job_spec import new_job
from queued.core.model import NewJob, State
from queued.core.records import Attempt, Job, JobFilter
from queued.service.linux import procfs, run_mark
from queued.store.paths import engine_at, is_url
from queued.store.postgres import address
from queued.store.protocols import Store

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
DEFECT = os.environ.get("QUEUED_TEST_DEFECT", "")  # of the product; see tests.hosts.mutations
# For `altered`: a run that cannot be killed is logged sooner, and a rescue is repeated sooner.
STUCK_SOON = "constant=queued.service.worker.execution._STUCK_S=0.5"
HANGS_SOON = "constant=queued.service.supervisor.watchdog._OWN_LIMIT_S=6"
RESCUES_OFTEN = "constant=queued.service.dispatcher.rescuer._RETRY_S=0.3"
# structlog would import rich, which an installed service lacks; that is a quarter of a start.
WITHOUT_RICH = {"PYTHONPATH": str(Path(__file__).parent / "without_rich")}
DEBUG = ("--log-level", "debug")
WATCHED = {"WATCHDOG_USEC": "600000000"}  # a service with a watchdog leaves a stopped child stopped
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str = "", within_s: float = PATIENCE_S) -> T:
    """Calls `look` until its answer is true; returns that. Raises AssertionError after a while."""
    end = time.monotonic() + within_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > end:
            msg = f"not within {within_s} s: {what or look}"
            raise AssertionError(msg)
        time.sleep(0.005)


def let_pass(seconds: float) -> None:
    """Waits so long, for a test which shows that something does not happen meanwhile."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end)


def run_program(
    *words: str | Path, check: bool = False, timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; returns its exit code and its output as text."""
    return subprocess.run(
        words, capture_output=True, text=True, check=check, timeout=timeout, **options
    )


def python_env() -> dict[str, str]:
    """Returns the environment of a Python that finds our source tree from any directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run_python(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs Python on our source tree: see `run_program`."""
    return run_program(sys.executable, *words, **({"env": python_env()} | options))


@contextmanager
def python_process(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Yields a process of Python that has printed a line and still runs; kills it at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=python_env(),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def install_programs(directory: Path) -> None:
    """Makes the directory, with scripts `queued` and `queuectl` that run our source tree."""
    directory.mkdir()
    for name, module in (("queued", "queued"), ("queuectl", "queued.ctl")):
        program = directory / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m {module} "$@"\n')
        program.chmod(0o755)


def _command_line(pid: int) -> list[bytes]:
    """Returns the command line of a process; an empty list if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Returns whether the process runs: it exists and has not ended."""
    process = procfs.read_process(pid)
    return process is not None and not process.dead


def states_of(pids: Iterable[int]) -> set[str]:
    """Returns the states of those of the processes that exist; `T` is stopped."""
    stats = [procfs.read(f"/proc/{pid}/stat") for pid in pids]
    return {stat.rpartition(b") ")[2][:1].decode() for stat in stats if stat}


def altered(*alterations: str, program: str = "queued") -> tuple[str, ...]:
    """Returns words for Python that start a program with `tests.crash.fault_injection`."""
    return ("-m", "tests.crash.fault_injection", *filter(None, (DEFECT, *alterations)), program)


@contextmanager
def locked(location: str) -> Iterator[None]:
    """Holds a lock meanwhile, so that no transaction that writes ends."""
    if is_url(location):
        import psycopg  # the benchmarks have none

        where = address.parse(location)
        tables = f"{where.schema}.jobs, {where.schema}.instances"
        with psycopg.connect(where.conninfo) as connection:
            held = False
            while not held:
                try:
                    connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE".encode())
                    held = True
                except psycopg.errors.DeadlockDetected:  # a turn had locked them in another order
                    connection.rollback()
            yield
        return
    with closing(apsw.Connection(location)) as holder:
        holder.set_busy_timeout(20_000)
        holder.execute("BEGIN IMMEDIATE")
        yield


class Queue:
    """A database, a store to read it, the services that run on it, and a directory for all files.

    `path` may be the URL of a queue in PostgreSQL.
    """

    def __init__(self, directory: Path, path: str = "") -> None:
        self.directory = directory
        self.path = path or str(directory / "queue.db")
        # Where its services have their lock files.
        self.env = {"STATE_DIRECTORY": str(directory)} if is_url(path) else {}
        named = self.path if is_url(self.path) else os.path.realpath(self.path)
        self.engine = engine_at(named, self.env)
        self.store: Store = self.engine.open_store(None)  # with the rights of the test
        self.services: list[Service] = []

    @property
    def log_path(self) -> Path:
        """The log file of a service that runs in the background."""
        directory, name = os.path.split(self.engine.instance_files)
        return Path(directory) / "log" / f"{name}.log"

    def serve(self, *flags: str, workers: int = 2, env: dict[str, str] | None = None) -> "Service":
        """Starts a service and waits until it is ready."""
        return self.spawn(*flags, workers=workers, env=env).ready()

    def spawn(
        self,
        *flags: str,
        workers: int = 2,
        env: dict[str, str] | None = None,
        program: tuple[str, ...] = altered() if DEFECT else ("-m", "queued"),
    ) -> "Service":
        """Starts a service, or a program that becomes one, without waiting."""
        service = Service(self, workers, flags, self.env | (env or {}), program)
        self.services.append(service)
        return service

    def add(self, command: str, **fields: Any) -> str:
        """Enqueues a job with these fields of a payload; returns its id."""
        jobs = [new_job({"command": command, **fields})]
        return self.store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())[0]

    def add_once(self, command: str, **fields: Any) -> str:
        """Enqueues a job that executes the command in its first run only; a retry is immediate."""
        return self.add(f"[ $QUEUED_ATTEMPT -gt 1 ] || {command}", backoff_max=0, **fields)

    def add_all(self, commands: Iterable[str], **fields: Any) -> Sequence[str]:
        """Enqueues jobs in one transaction; returns their ids."""
        jobs: list[NewJob] = [new_job({"command": command, **fields}) for command in commands]
        return self.store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())

    def job(self, name: str) -> Job:
        """Returns the job as it is now."""
        return self.store.show(self.store.find(name))

    def attempts(self, name: str) -> Sequence[Attempt]:
        """Returns the runs of the job."""
        return self.store.attempts(self.store.find(name))

    def output(self, name: str, *, attempt: int = 1, stream: int = 1) -> bytes:
        """Returns the stored output of a run."""
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
        """Returns how many jobs have the label."""
        return {str(k): n for k, n in self.store.status(now_ms=times.now_ms()).counts.items()}[
            label
        ]

    def jobs(self) -> list[Job]:
        """Returns all jobs."""
        return list(self.store.list(JobFilter()))

    def file(self, name: str) -> Path:
        """Returns the path of a file for commands to write."""
        return self.directory / name

    def queuectl(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs the real queuectl on this database."""
        options = {"env": python_env() | self.env} | options
        return run_python("-m", "queued.ctl", "--db", self.path, *arguments, **options)

    def cancel(self, name: str) -> State | None:
        """Does what `queuectl cancel` does, without starting Python."""
        return self.store.cancel(self.store.find(name), now_ms=times.now_ms())

    def configure(self, key: str, value: str) -> None:
        """Does what `queuectl config set` does, without starting Python."""
        self.store.config_set(key, value, now_ms=times.now_ms())

    def close(self) -> None:
        """Kills the services that still run, with their commands."""
        for service in self.services:
            service.clean_up()
        self.store.close()


@contextmanager
def cleaned_up(queue: Queue) -> Iterator[Queue]:
    """Closes the queue at the end and prints the logs of its services, for a test that failed."""
    try:
        yield queue
    finally:
        queue.close()
        for service in queue.services:
            print(f"--- {service.log_path.name}\n{service.log_path.read_text()[-8000:]}")


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
            env={**os.environ, **WITHOUT_RICH, **env},
        )  # fmt: skip
        self.pid = self.process.pid

    def ready(self) -> "Service":
        """Waits until the service logs that it is ready."""
        eventually(
            lambda: self.logged("service.ready") or self.process.poll() is not None, "service.ready"
        )
        assert self.process.poll() is None, self.log_path.read_text()
        return self

    def logged(self, event: str = "", **fields: Any) -> list[dict[str, Any]]:
        """Returns the log lines of the event, or of any, with these fields."""
        text = self.log_path.read_text()
        whole = text[: text.rfind("\n") + 1]  # the last line may be half written
        name = f'"{event}"' if event else ""  # to decode few of many lines
        lines = [json.loads(line) for line in whole.splitlines() if name in line]
        return [
            line
            for line in lines
            if event in {"", line["event"]} and all(line.get(k) == v for k, v in fields.items())
        ]

    @property
    def instance(self) -> str:
        """The id of the instance."""
        return str(self.logged("service.started")[0]["instance"])

    def child(self, slot: int) -> int:
        """Returns the pid of the child in a slot now: 0 is the dispatcher, others are workers."""
        return int(self.logged("child.started", slot=slot)[-1]["child_pid"])

    def worker_of(self, name: str) -> int:
        """Returns the pid of the worker that runs the job now."""
        row = self.queue.store.find(name)
        worker = self.queue.store.attempts(row)[-1].worker
        return self.child(worker)

    def replaced(self, slot: int, pid: int) -> int:
        """Waits until the slot has another child than `pid`; returns the new pid."""
        eventually(lambda: self.child(slot) != pid, f"slot {slot} replaced")
        return self.child(slot)

    def descendants(self) -> list[int]:
        """Returns the living descendants of the supervisor."""
        return [p.pid for p in procfs.descendants(self.pid) if not p.dead]

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Signals a process of the service."""
        os.kill(pid, number)

    def own(self) -> list[procfs.Process]:
        """Returns the supervisor and its living children.

        The log may lack a child that was just started, and pids in it may have been reused.
        """
        pids = {self.pid, *(int(line["child_pid"]) for line in self.logged("child.started"))}
        pinned = self.process.poll() is None
        return [
            process
            for process in procfs.all_processes().values()
            if not process.dead
            and (process.pid in pids or (pinned and process.parent == self.pid))
            and self.queue.path.encode() in _command_line(process.pid)
        ]

    def pause(self) -> None:
        """Stops all processes of the instance, but no command, while none has the write lock."""
        with locked(self.queue.path):
            # The supervisor first: it continues a child that has stopped.
            for process in sorted(self.own(), key=lambda own: own.pid != self.pid):
                os.kill(process.pid, signal.SIGSTOP)
                eventually(lambda pid=process.pid: states_of([pid]) == {"T"})  # type: ignore[misc]

    def kill_instance(self, spared: int | None = None) -> None:
        """Kills the supervisor and its children at once, except one; but no command."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # first: else it restarts what is killed
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            # The supervisor last: when it ends, the kernel resumes its stopped children.
            for process in sorted(self.own(), key=lambda own: own.pid == self.pid):
                if process.pid != spared:
                    procfs.send_signal(process, number)
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signals the service and waits for its end; returns the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Waits until the service has ended; returns the exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log_path.read_text()) from None

    def clean_up(self) -> None:
        """Kills the instance and all its commands, at the end of a test."""
        marks = [mark for line in self.logged("service.started") if (mark := line["instance"])]
        self.kill_instance()
        for mark in marks:
            for found in run_mark.marked_processes(mark):
                procfs.send_signal(found.process, signal.SIGKILL)
        self._log.close()
