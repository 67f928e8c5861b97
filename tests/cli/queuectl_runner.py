"""The real `queuectl` on a database of its own, and hands that move its jobs as a service does."""

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from queued.core.job_spec import new_job
from queued.core.model import Instance, Outcome, State
from queued.core.runs import Chunk, Claim, Ending
from queued.core.settlement import Backoff, Settlement, judge
from queued.core.times import now_ms
from queued.ctl.live_services import no_service
from queued.store import instance_lock
from queued.store.ledger import Ledger
from queued.store.paths import engine_at
from tests import postgres_server
from tests.cli import in_process_cli
from tests.cli.in_process_cli import Done
from tests.open_descriptors import watches
from tests.store.engine import plain_shares

ROOT = Path(__file__).resolve().parents[2]
_OF_TERMINALS = {"COLUMNS", "NO_COLOR"}
OK = Ending(Outcome.EXIT, exit_code=0)
NO_SERVICE = no_service("queuectl")


class Screen(NamedTuple):
    """The output of a command on a terminal, and its standard error."""

    out: bytes
    err: str


class QueuectlRunner:
    """Runs `queuectl` as a process.

    `url` is that of a queue in PostgreSQL; without one the database is an SQLite file.
    """

    def __init__(self, directory: Path, stack: ExitStack, url: str = "") -> None:
        self.directory = directory
        self.database = directory / "queue.db"
        self._url = url
        self.location = {"QUEUECTL_DB": url or str(self.database)}
        if url:
            self.location["STATE_DIRECTORY"] = str(directory)
        self.engine = engine_at(self.location["QUEUECTL_DB"], self.location)
        self._stack = stack
        self._ledger: Ledger | None = None
        self._token = 100

    def __call__(self, *words: str, stdin: str | bytes = b"", **env: str) -> Done:
        """Runs a command to its end."""
        done = subprocess.run(
            self.line(*words),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            env=self.env(**env),
            cwd=self.directory,
            timeout=60,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def line(self, *words: str) -> list[str]:
        """The words that start it."""
        return [sys.executable, "-m", "queued.ctl", *words]

    def env(self, **more: str) -> dict[str, str]:
        """Its environment."""
        return {
            **{name: text for name, text in os.environ.items() if name not in _OF_TERMINALS},
            "PYTHONPATH": str(ROOT),
            **self.location,
            "LC_ALL": "C.UTF-8",
            **more,
        }

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Starts a command; it is gone at the end of the test."""
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(self.line(*words), env=self.env(), cwd=self.directory, **streams)
        self._stack.callback(_end, process)
        return process

    def ok(self, *words: str, stdin: str | bytes = b"", **env: str) -> str:
        """Runs a command that must succeed and warn of nothing but a missing service; its output.

        It runs in this process, which is ten times as fast.
        """
        with in_process_cli.surroundings(self.directory, self.env(**env)):
            done = in_process_cli.run(words, stdin)
        said = re.sub(no_service(r"queuectl( --db \S+)?") + "\n", "", done.err)
        assert (done.code, said) == (0, ""), done
        return done.out

    def json(self, *words: str, stdin: str | bytes = b"") -> Any:
        """The one JSON value that a command prints."""
        return json.loads(self.ok(*words, "--json", stdin=stdin))

    def ids(self, *words: str) -> list[str]:
        """The ids of the jobs that `list` shows."""
        return [job["id"] for job in self.json("list", *words)]

    def on_terminal(self, *words: str, lines: int = 24, columns: int = 80, **env: str) -> Screen:
        """Runs a command on a terminal of that size."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = subprocess.Popen(
            self.line(*words),
            env=self.env(**env),
            cwd=self.directory,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the other side of the terminal was closed
            while piece := os.read(ours, 65536):
                seen += piece
        os.close(ours)
        _, err = process.communicate(timeout=10)
        return Screen(seen.replace(b"\r\n", b"\n"), err.decode())

    def add(self, name: str, command: str = "true", **fields: object) -> str:
        """Enqueues a job without a process, which is quicker; its id."""
        job = new_job({"id": name, "command": command, **fields})
        with closing(self.engine.open_store(10)) as store:
            return store.enqueue([job], max_retries=3, now_ms=now_ms())[0]

    def dump(self) -> list[tuple[object, ...]] | None:
        """All rows of the database; None if there is no database, or over PostgreSQL no row."""
        if self._url:
            return postgres_server.rows(self._url) or None
        if not self.database.exists():
            return None
        connection = apsw.Connection(str(self.database))
        try:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            names = sorted(str(row[0]) for row in tables)
            queries = [f"SELECT * FROM {name}" for name in names]  # noqa: S608  names of tables
            return [row for query in queries for row in connection.execute(query)]
        finally:
            connection.close()

    # The steps of a service

    @property
    def ledger(self) -> Ledger:
        """A dispatcher's connection."""
        if self._ledger is None:
            self._ledger = self.engine.open_ledger(lambda _waited_s: None)
            self._stack.callback(self._ledger.close)
        return self._ledger

    def register(self, name: str, host: str = "host", labels: str = "") -> int:
        """Registers a service that only holds its lock; returns that, whose end is its death."""
        files = self.engine.instance_files
        lock = instance_lock.create_locked(instance_lock.path_of(files, name))
        instance = Instance(
            name, host, 4711, "0.1.0", now_ms(), None, '{"workers": "--workers"}',
            labels=labels, host_id=instance_lock.scope(files),
        )  # fmt: skip
        with self.ledger.transaction():
            self.ledger.register(instance, now_ms=now_ms())
        return lock

    def is_waiting(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a command has read the database and waits for the next change."""
        if self._url:
            return postgres_server.is_watched(self._url)
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        return watches(process.pid) and stat.rpartition(")")[2].split()[0] == "S"

    def claim(self, instance: str = "i", worker: int = 1) -> Claim:
        """Takes the first job that is ready."""
        self._token += 1
        with self.ledger.transaction():
            (claim,) = self.ledger.claim(
                instance, [worker], self._token, now_ms=now_ms(), shares=plain_shares(self.ledger)
            )
        return claim

    def prints(self, claim: Claim, content: bytes, *, stream: int = 1, position: int = 0) -> None:
        """Stores a piece of output."""
        with self.ledger.transaction():
            self.ledger.store_output([(claim.key, Chunk(stream, position, content))])

    def end(self, claim: Claim, ending: Ending = OK, *, backoff: float = 60.0) -> State | None:
        """Records how a run ended."""
        now = now_ms()
        verdict = judge(claim, ending, Backoff(backoff, 3600.0, 0.0, 30.0), now_ms=now)
        with self.ledger.transaction():
            return self.ledger.settle([Settlement(claim, ending, verdict)], now_ms=now)[0]

    def run(self, name: str, ending: Ending = OK, **fields: object) -> str:
        """Adds a job and has it run once, to this end."""
        self.add(name, **fields)  # type: ignore[arg-type]
        claim = self.claim()
        assert claim.id == name
        self.end(claim, ending)
        return name


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def failed(code: int = 1, tail: bytes = b"") -> Ending:
    """A run that ended with an exit code."""
    return Ending(Outcome.EXIT, exit_code=code, tail=tail, ran_ms=1500, cpu_ms=20, peak_kib=3500)


def timeless(text: str) -> str:
    """The text with durations and moments replaced, so that it can be compared."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "MOMENT-OF-TWENTYFOUR-CHR", text)
    text = re.sub(r" *\b[\d.]+[smhd]?\w* ago", "   NOW ago", text)
    return re.sub(r" *\bin [\d.]+[smhd]\w*", "   in LATER", text)
