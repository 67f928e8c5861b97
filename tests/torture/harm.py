"""The harm that a torture does to services: signals, full disks, removed files, bad conf files."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from queued.core.errors import Exit
from queued.service.linux import procfs, run_mark
from queued.store import instance_lock
from tests.service import eventually
from tests.torture.services import TorturedService, TorturedServices

WeightedHarm = tuple[int, Callable[[TorturedService], None]]

_GOOD_CONF = ("", "shutdown_grace = 1\n", "worker_poll_interval = 0.2\n")
_BAD_CONF = ("wrokers = 4\n", "shutdown_grace = 'soon'\n", "no = [toml\n")


class Harm:
    """The dice choose a service and a harm. `done` counts what was done.

    `special` are harms that not every torture does, with their weights.
    """

    def __init__(self, services: TorturedServices, dice: random.Random, done: Counter[str]) -> None:
        self.special: list[WeightedHarm] = []
        self._services = services
        self._dice = dice
        self._done = done
        self._empty_disk_at_s: float | None = None

    def once(self) -> None:
        """Does one harm to one service, if any serves."""
        serving = self._services.serving
        if not serving:
            return
        harms: list[WeightedHarm] = [
            (16, self._command),
            (12, self._worker),
            (12, self._dispatcher),
            (4, self._supervisor),
            (2, self._stop_all),
            (3, self._reload),
            (3, self._stop_log_reader),
            (1, self._remove_lock_file),
            *self.special,
        ]
        weights, choices = zip(*harms, strict=True)
        self._dice.choices(choices, weights)[0](self._dice.choice(serving))

    def undo_expired(self, now_s: float) -> None:
        """Ends what has lasted long enough."""
        self._services.resume(now_s)
        if self._empty_disk_at_s is not None and self._empty_disk_at_s <= now_s:
            self._services.full.unlink()
            self._empty_disk_at_s = None

    def move_database(self, path: str) -> None:
        """Moves the database away until every service has ended because of it.

        No enqueuer may run meanwhile: it would make a new database.
        """
        self.end()
        serving = self._services.serving
        for service in serving:
            service.evict(Exit.CONFIG)
        os.rename(path, f"{path}.moved")
        try:
            eventually(lambda: not self._services.serving, "all end without a database", 60)
            assert not os.path.exists(path), "a service made a new database"
        finally:
            os.rename(f"{path}.moved", path)
        self._done["database moved"] += bool(serving)

    def end(self) -> None:
        """Ends all that is stopped or full."""
        self.undo_expired(float("inf"))

    def _command(self, tortured: TorturedService) -> None:
        children = {pid for _, pid in tortured.children}
        marked = {
            found.process.pid for found in run_mark.marked_processes(tortured.service.instance)
        }
        numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
        self._signal("command", sorted(marked - children), numbers)

    def _worker(self, tortured: TorturedService) -> None:
        numbers = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGQUIT)
        self._signal("worker", tortured.workers, numbers)

    def _dispatcher(self, tortured: TorturedService) -> None:
        found = [pid for slot, pid in tortured.children if slot == 0]
        numbers = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
        self._signal("dispatcher", found, numbers)

    def _supervisor(self, tortured: TorturedService) -> None:
        numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
        number = self._signal("supervisor", [tortured.service.pid], numbers)
        if number is not None:
            tortured.expect(number)

    def _signal(
        self, target: str, pids: list[int], numbers: tuple[signal.Signals, ...]
    ) -> signal.Signals | None:
        """Sends one of the signals to one of the processes; returns which, None if to none."""
        if not pids:
            return None
        pid, number = self._dice.choice(pids), self._dice.choice(numbers)
        if number is signal.SIGSTOP:
            # A child between vfork and exec keeps its worker waiting, and so an instance alive.
            executed = not procfs.read(f"/proc/{pid}/comm").startswith(b"queued")
            runs = target == "command" and executed
            self._services.stop([pid], self._dice.uniform(0.01, 1.5), commands=runs)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        self._done[f"{number.name} {target}"] += 1
        return number

    def kill_all(self, tortured: TorturedService) -> None:
        """Supervisor, dispatcher and workers at once, and no command."""
        tortured.kill_all()
        self._done["SIGKILL instance"] += 1

    def _stop_all(self, tortured: TorturedService) -> None:
        pids = [tortured.service.pid, *(pid for _, pid in tortured.children)]
        self._services.stop(pids, self._dice.uniform(0.5, 2))
        self._done["SIGSTOP instance"] += 1

    def second_service(self, _tortured: TorturedService) -> None:
        """Starts another service beside the one that serves."""
        if len(self._services.serving) < 2 and self._empty_disk_at_s is None:
            self._services.start()
            self._done["start"] += 1

    def _reload(self, tortured: TorturedService) -> None:
        """A refused conf file changes nothing and ends nothing."""
        kind = self._dice.choice(("good", "bad"))
        text = self._dice.choice(_GOOD_CONF if kind == "good" else _BAD_CONF)
        new = tortured.conf.with_suffix(".new")
        new.write_text(text)
        new.rename(tortured.conf)
        tortured.service.process.send_signal(signal.SIGHUP)
        self._done[f"SIGHUP {kind} conf"] += 1

    def _stop_log_reader(self, tortured: TorturedService) -> None:
        if tortured.log_reader is not None:
            self._services.stop([tortured.log_reader.pid], self._dice.uniform(0.5, 4))
            self._done["log not read"] += 1

    def fill_disk(self, tortured: TorturedService) -> None:
        """Sometimes the service is stopped meanwhile, which may leave results unrecorded."""
        if self._empty_disk_at_s is not None:
            return
        self._services.full.touch()
        self._empty_disk_at_s = time.monotonic() + self._dice.uniform(0.1, 3)
        self._done["disk full"] += 1
        if self._dice.random() < 0.5:
            tortured.expect(signal.SIGTERM)
            tortured.service.process.send_signal(signal.SIGTERM)
            self._done["SIGTERM on full disk"] += 1

    def _remove_lock_file(self, tortured: TorturedService) -> None:
        """The service is no longer provably alive: it ends, and its jobs run again after that."""
        path = instance_lock.path_of(
            tortured.service.queue.engine.instance_files, tortured.service.instance
        )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            tortured.evict(Exit.IO)
            self._done["lock file removed"] += 1
