"""The services of a torture: how each is started, which processes are stopped, how each may end.

Services differ in the place (a path of the database, or a host), in the number of workers and
in the log: a file, or a pipe whose reader can be stopped. All are on a disk that is full while a
file is there, and each has a conf file of its own.
"""

import contextlib
import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from queued.core.errors import Exit
from queued.service.ipc.scoreboard import WARDEN
from queued.service.linux import procfs
from tests.service import Queue, Service, altered, eventually
from tests.torture.history import ServiceEnd

_END_S = 60.0


@dataclass(kw_only=True, slots=True, eq=False)
class TorturedService:
    """A service, with the exit codes that are right after what was done to it."""

    service: Service
    conf: Path
    log_reader: subprocess.Popen[bytes] | None = None
    allowed: set[int] = field(default_factory=set)
    terms: int = 0
    evicted: bool = False

    @property
    def alive(self) -> bool:
        """Whether its supervisor runs."""
        return self.service.process.poll() is None

    @property
    def warden(self) -> int | None:
        """The pid of its warden, if it has one."""
        return next((pid for slot, pid in self.children if slot == WARDEN), None)

    @property
    def workers(self) -> list[int]:
        """The pids of its workers."""
        return [pid for slot, pid in self.children if 0 < slot < WARDEN]

    @property
    def children(self) -> list[tuple[int, int]]:
        """Slot and pid of each living child."""
        started = self.service.logged("child.started")
        living = {process.pid for process in procfs.descendants(self.service.pid)}
        pids = {int(line["child_pid"]): int(line["slot"]) for line in started}
        return [(slot, pid) for pid, slot in pids.items() if pid in living]

    @property
    def lost_dispatchers(self) -> int:
        """How many dispatchers have died since a signal asked for the end."""
        events = [line["event"] for line in self.service.logged() if line.get("slot", 0) == 0]
        after = events[events.index("service.draining") :] if "service.draining" in events else []
        return after.count("child.died")

    def expect(self, number: int) -> None:
        """Notes that a signal was sent to the supervisor."""
        if number == signal.SIGKILL:
            self.allowed.add(-signal.SIGKILL)
        elif number == signal.SIGTERM:
            self.terms += 1
            self.allowed.add(Exit.DONE)

    def kill_all(self, spared: int | None = None) -> None:
        """Kills all its processes at once, except one; and no command."""
        self.expect(signal.SIGKILL)
        self.service.kill_instance(spared)

    def evict(self, code: Exit) -> None:
        """Notes that something was removed without which the service has to end."""
        self.allowed.add(code)
        self.evicted = True


class TorturedServices:
    """All services that were started on one database, the ended ones included."""

    def __init__(
        self,
        directory: Path,
        places: Sequence[Queue],
        dice: random.Random,
        workers: Sequence[int],
    ) -> None:
        """Each service is started at one of `places`, which all are the same queue."""
        self.full = directory / "full"  # the disk is full while this file is there
        self.all: list[TorturedService] = []
        self._directory = directory
        self._places = places
        self._workers = workers
        self._dice = dice
        self.suspending: Callable[[], bool] = lambda: False  # whether a user has suspended a queue
        self._stopped: list[tuple[float, int]] = []  # until when, and the pid
        self._commands: list[tuple[float, int]] = []  # the same of commands

    @property
    def serving(self) -> list[TorturedService]:
        """The services whose supervisor runs."""
        return [service for service in self.all if service.alive]

    @property
    def free_places(self) -> list[Queue]:
        """The places without a service."""
        used = [one.service.queue for one in self.serving]
        return [place for place in self._places if place not in used]

    def start(self, place: Queue | None = None) -> None:
        """Starts one more and waits until it has begun or ended."""
        n = len(self.all)
        conf = self._directory / f"conf.{n}"
        conf.touch(0o600)
        fifo = None
        alterations = [f"full={self.full}"]
        if self._dice.random() < 0.3:
            fifo = self._directory / f"fifo.{n}"
            os.mkfifo(fifo)
            alterations.append(f"log_to={fifo}")
        place = place or self._dice.choice(self._places)
        if (clock := place.directory / "clock").exists():  # of a host
            alterations.append(f"clock={clock}")
        service = place.spawn(
            *("--config", str(conf)),
            workers=self._dice.choice(self._workers),
            program=altered(*alterations),
        )
        started = TorturedService(service=service, conf=conf)
        self.all.append(started)
        if fifo is not None:
            with service.log_path.open("ab") as log:
                started.log_reader = subprocess.Popen(["cat", fifo], stdout=log)
        eventually(
            lambda: service.logged("service.started") or not started.alive, "service.started"
        )

    def stop(self, pids: Collection[int], seconds: float, *, commands: bool = False) -> None:
        """Stops processes for so long; commands also until no queue is suspended."""
        stopped = self._commands if commands else self._stopped
        until_s = time.monotonic() + seconds
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append((until_s, pid))

    def resume(self, now_s: float = math.inf) -> None:
        """Resumes the processes that were stopped until this time or an earlier one."""
        for stopped in (self._stopped, *[self._commands] * (not self.suspending())):
            for one in [one for one in stopped if one[0] <= now_s]:
                stopped.remove(one)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one[1], signal.SIGCONT)

    def wait_for_evicted(self) -> None:
        """Waits until each service has ended that has lost its lock file or its database."""
        for service in self.all:
            if service.evicted:
                service.service.ended(_END_S)

    def end(self) -> None:
        """Stops all; a log that is not read meanwhile must not delay that."""
        readers = [one.log_reader for one in self.all if one.log_reader is not None]
        self.stop([reader.pid for reader in readers if reader.poll() is None], _END_S)
        for service in self.serving:
            service.expect(signal.SIGTERM)
            service.service.process.send_signal(signal.SIGTERM)
        for service in self.all:
            service.service.ended(_END_S)
        self.resume()
        for reader in readers:
            reader.wait(_END_S)
        eventually(
            lambda: not [own for service in self.all for own in service.service.own()],
            "all processes of the services are gone",
            _END_S,
        )

    def ends(self) -> list[ServiceEnd]:
        """The exit code of each service, and the exit codes that are allowed."""
        taken_over = {
            line["dead"] for one in self.all for line in one.service.logged("instance.taken_over")
        }
        for one in self.all:
            # The third signal kills everything, whether or not it is recorded, and so does the
            # second one if `shutdown_grace` is over, or the end of the time to record, which is
            # shorter than the starts of several dispatchers.
            killed = one.service.logged("service.stopping", action="kills all children")
            lost = any(one.service.logged("service.started", instance=dead) for dead in taken_over)
            if lost or one.terms > 2 or (killed and (one.terms > 1 or one.lost_dispatchers > 1)):
                one.allowed.add(Exit.IO)
        return [
            ServiceEnd(
                service=str(one.service.log_path),
                exit_code=one.service.ended(_END_S),
                allowed=frozenset(one.allowed),
            )
            for one in self.all
        ]

    def close(self) -> None:
        """Kills what still runs."""
        self.resume()
        for service in self.all:
            if service.log_reader is not None:
                service.log_reader.kill()
                service.log_reader.wait()
        for place in self._places:
            place.close()
