"""The load of a torture: jobs of all kinds, and the queuectl processes that enqueue them."""

import json
import random
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from queued.core import times
from queued.core.model import CONDITIONS
from tests.process import headless
from tests.torture.history import Places, traced

QUEUES = {"a": None, "b": None, "one": 1, "two": 2, "slow": None}  # with their limits
WEIGHTS = {"a": 1, "b": 3}  # of queues that have neither a limit nor a rate
RATES = {"slow": (2, 1000)}  # of queues: so many starts in so many milliseconds
KEYS = {"c1": 1, "c2": 2}  # with their limits
KEY_RATES = {"s1": "1/s", "s2": "2/s"}
TIMEOUT_S = 3.0  # ends a command that has stopped itself, too
PATIENCE_S = 60.0  # the timeout of a command that waits for a signal
SIGNAL, WARNING = "URG", "WINCH"  # processes that do not catch them ignore them
READY = "ready"  # what a command that waits for SIGNAL writes first
GROUPS = 10  # each job has the label `group` of one of them

_COIN = '[ $(( $(date +%N | tail -c 4 | sed "s/^0*//") % 2 )) = 0 ]'
_INPUT = "".join(f"{n} Wörter\n" for n in range(9000))
_PRINTED = {lines: "".join(f"{n}\n" for n in range(1, lines + 1)).encode() for lines in (3, 9000)}

# A subshell or a program that it starts does not inherit these.
_CATCHES = f"trap 'say got:{SIGNAL}; got=1' {SIGNAL}; trap 'say got:{WARNING}' {WARNING}; "
_WAITS = f"got=; {_CATCHES}say {READY}; until [ $got ]; do say beat; sleep 0.05 || exit 5; done"

# Only root may read the environment and the open files of such a process.
_NOT_DUMPABLE = shlex.join(
    [
        *(sys.executable, "-S", "-c"),
        "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); time.sleep(60)",
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRequest:
    """A job or an array to be enqueued, and what each job prints if it succeeds."""

    payload: dict[str, Any]
    indexes: Sequence[int] = ()
    prints: bytes = b""

    @property
    def waits(self) -> list[tuple[str, str]]:
        """The jobs that it waits for, each with the condition."""
        return [(one, job) for one in CONDITIONS for job in self.payload.get(one, ())]

    @property
    def name(self) -> str:
        """The id. The torture chooses it, so that it is known even if the enqueue fails."""
        return str(self.payload["id"])

    @property
    def names(self) -> set[str]:
        """The ids of its jobs."""
        return {f"{self.name}_{index}" for index in self.indexes} or {self.name}

    def prints_of(self, name: str) -> bytes:
        """Returns what that job prints if it succeeds."""
        return name.replace("_", " ").encode() + b"\n" if self.indexes else self.prints


class JobRequests:
    """An endless series of jobs of all kinds, the same for the same seed.

    Without `deadlines` no job has one: a worker stops a run at its deadline by the clock of its
    host.
    """

    def __init__(self, directory: Path, dice: random.Random, *, deadlines: bool) -> None:
        self._directory = directory
        self._dice = dice
        self._deadlines = deadlines
        self._made = 0

    def next(self, others: Sequence[str]) -> JobRequest:
        """Returns the next job or array, which may wait for the end of `others`."""
        self._made += 1
        (queue,) = self._dice.choices(list(QUEUES), (9, 8, 1, 2, 3))
        request = self._array(queue) if self._dice.random() < 0.1 else self._job(queue)
        payload = request.payload
        # Cancelled because of another job and revived with it, a job lacks its unique key.
        if others and not payload.get("unique_key") and self._dice.random() < 0.2:
            payload |= {
                self._dice.choice(CONDITIONS): [self._dice.choice(others)]
                for _ in range(self._dice.randint(1, 2))
            }
        if self._dice.random() < 0.1:
            payload["delay"] = 0.3
        if self._dice.random() < 0.1 and "deadline" not in payload:
            soon_s = payload.get("delay", 0)
            payload["expires_in"] = round(soon_s + self._dice.uniform(0.05, 2), 3)
        if self._dice.random() < 0.1:
            payload["umask"] = "077"  # such a command is started by a shell
        if self._dice.random() < 0.3:
            hook = self._dice.choice(["true", "exit 66"])
            hook = traced(self._directory, hook, *_places(queue))
            payload |= {"on_dead": hook, "on_completed": hook}
        return request

    def _job(self, queue: str) -> JobRequest:
        command, prints = self._dice.choice(self._kinds())
        slots = self._dice.choice([1, 1, 2])
        unique = f"k{self._dice.randint(1, 4)}" if self._dice.random() < 0.15 else ""
        unique_while = self._dice.choice(["active", "active", "waiting"]) if unique else ""
        held = [Places(unique, "4")] if unique_while == "active" else []
        key = self._dice.choice(list(KEYS)) if self._dice.random() < 0.15 else ""
        held += [Places(key, "3 5"[: 2 * KEYS[key]])] if key else []
        payload = self._payload(command, queue, slots, *held) | {
            "unique_key": unique or None,
            "unique_while": unique_while or None,
            "key": key or None,
            "key_limit": KEYS[key] if key else None,
            "stdin": _INPUT if command.startswith("cat") else None,
        }
        if not key and self._dice.random() < 0.1:
            payload |= self._rate()
        payload |= self._time_limits(command)
        return JobRequest(payload=payload, prints=prints)

    def _time_limits(self, command: str) -> dict[str, Any]:
        """Returns a deadline, which some commands reach, and a signal before the end of a run."""
        waits = command == _WAITS
        found: dict[str, Any] = {"timeout": PATIENCE_S if waits else TIMEOUT_S}
        if self._deadlines and self._dice.random() < (0.6 if waits else 0.1):
            found["deadline"] = times.iso(times.now_ms() + self._dice.randint(1500, 5000))
        if _CATCHES in command and self._dice.random() < 0.5:
            before_s = found["timeout"] + self._dice.uniform(-1.2, 0.2)  # too early is never
            found["warn_signal"] = f"{WARNING}@{before_s:.2f}"
        return found

    def _array(self, queue: str) -> JobRequest:
        """Returns an array, of which sometimes only one or two jobs may run at once."""
        most = self._dice.choice([0, 1, 1, 2])
        held = [Places(f"t{self._made}", "3 5"[: 2 * most])] if most else []
        command = f"echo $QUEUED_ARRAY_ID $QUEUED_ARRAY_INDEX; {self._beats()}; {_COIN} || exit 5"
        last = self._dice.randint(2, 5)
        indexes = f"1-{last}" + (f"%{most}" if most else "")
        payload = self._payload(command, queue, 1, *held) | {"array": indexes}
        if not most:
            payload |= self._rate()
        return JobRequest(payload=payload, indexes=range(1, last + 1))

    def _rate(self) -> dict[str, str]:
        """Returns the fields of a key that has a rate."""
        key = self._dice.choice(list(KEY_RATES))
        return {"key": key, "key_rate": KEY_RATES[key]}

    def _payload(self, command: str, queue: str, slots: int, *held: Places) -> dict[str, Any]:
        return {
            "id": f"t{self._made}",
            "command": traced(self._directory, command, *_places(queue, slots), *held),
            "max_retries": self._dice.choice([1, 2, 4]),
            "backoff_base": self._dice.choice([1, 1.5]),
            "backoff_max": self._dice.choice([0, 0.1, 0.4]),
            "priority": self._dice.randint(-1, 1),
            "queue": queue,
            "slots": slots,
            "labels": {"group": str(self._dice.randrange(GROUPS))},
            "hold": self._dice.random() < 0.05,
            "kill_grace": 0.3,
            "timeout": TIMEOUT_S,
            "defer_on": [75],
            "defer_delay": self._dice.choice([0, 0.1, 0.4]),
            "no_retry_on": [66],
        }

    def _beats(self) -> str:
        """Returns a command that shows in its trace when it goes on."""
        n = self._dice.randint(1, 40)
        return f"n={n}; while [ $n -gt 0 ]; do say beat; n=$((n-1)); sleep 0.05 || exit 5; done"

    def _kinds(self) -> list[tuple[str, bytes]]:
        pause = f"{self._dice.uniform(0.05, 0.6):.2f}"
        return [
            ("true", b""),
            ("true", b""),
            (f"sleep {pause}", b""),
            ("sleep 1.5", b""),
            *[(_CATCHES + self._beats(), b"")] * 3,
            *[(_WAITS, b"")] * 2,
            (f"({self._beats()}) & {self._beats()}; wait", b""),
            ("exit 3", b""),
            ("exit 66", b""),
            (f"{_COIN} || exit 5", b""),
            (f"sleep {pause}; {_COIN} || exit 75", b""),
            ("kill -9 $$; sleep 9", b""),
            ("kill -STOP $$", b""),
            ("seq 3", _PRINTED[3]),
            ("seq 9000", _PRINTED[9000]),
            ("seq 9000; exit 1", b""),
            ("cat", _INPUT.encode()),
            (f"cat; {_COIN} || exit 5", _INPUT.encode()),
            (f"(sleep 60 &) ; sleep {pause}", b""),
            ("setsid sleep 60 & sleep 0.1", b""),
            ("(trap '' TERM; sleep 60) & exit 0", b""),
            (f"(env -i setsid sleep 60 >/dev/null 2>&1 &) ; sleep {pause}", b""),
            (f"({_NOT_DUMPABLE} >/dev/null 2>&1 &) ; sleep {pause}", b""),
            (f"env -i setsid {_NOT_DUMPABLE} & sleep {pause}", b""),
            ("true; " + headless.command(self._directory / f"headless.{self._made}"), b""),
            (f"for n in 1 2 3; do (sleep {pause}) & done; wait", b""),
        ]


def _places(queue: str, slots: int = 1) -> list[Places]:
    """Returns what a run of the queue takes of its limit, if it has one."""
    limit = QUEUES[queue]
    return [Places(queue, "6 7"[: 2 * limit], min(slots, limit))] if limit else []


@dataclass(kw_only=True, slots=True)
class Enqueuer:
    """A running queuectl; `answered` has the ids that it has acknowledged.

    In place of a job whose unique key is taken, that is the id of the job that has the key.
    """

    process: subprocess.Popen[str]
    requests: list[JobRequest]
    answered: set[str] = field(default_factory=set)

    def has_ended(self) -> bool:
        """Returns whether it has ended, and sets `answered` then."""
        if self.process.poll() is None:
            return False
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            self.answered = {line for line in printed.read().split("\n")[:-1] if line}
        if self.process.returncode == 0:
            keyless = [one for one in self.requests if not one.payload.get("unique_key")]
            self.answered |= {name for request in keyless for name in request.names}
        return True


def enqueuer(path: str, requests: list[JobRequest], errors: Path, *, replaces: bool) -> Enqueuer:
    """Starts a queuectl that enqueues all of these in one batch.

    `replaces`: a waiting job that has a unique key of these is cancelled.
    """
    lines = errors.parent / f"{requests[0].name}.jsonl"
    lines.write_text("".join(json.dumps(request.payload) + "\n" for request in requests))
    with lines.open("rb") as given:
        words = ["enqueue", *["--replace"] * replaces, "-"]
        process = _queuectl(path, words, errors, given)
    lines.unlink()
    return Enqueuer(process=process, requests=requests)


def rerunner(path: str, job: str, errors: Path) -> Enqueuer:
    """Starts a queuectl that adds a job like one that has ended."""
    return Enqueuer(process=_queuectl(path, ["rerun", job], errors), requests=[])


def _queuectl(
    path: str, words: Sequence[str], errors: Path, given: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    with errors.open("ab") as complaints:
        return subprocess.Popen(
            [sys.executable, "-m", "queued.ctl", "--db", path, *words],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
