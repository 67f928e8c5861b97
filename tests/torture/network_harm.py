"""The harm that a torture does to a PostgreSQL server, to its hosts, and to their links to it."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from queued.core.errors import Exit
from queued.service.ipc.scoreboard import WARDEN
from tests import postgres_server
from tests.hosts.host import Host
from tests.torture.harm import WeightedHarm
from tests.torture.services import TorturedService, TorturedServices

LEASE_S = 15  # the shortest
_LONG = 1.6  # in leases; another host takes over meanwhile
_OUTAGE = 1.2  # in leases, of the server
_SHORT_S = 3.0
_LONGEST_JUMP = 7  # of a clock, as a power of ten of seconds


class ServerHarm:
    """Crashes, stops and pauses of the server; `url` is that of the queue, and `done` counts them.

    A server that is down for longer than a lease makes all hosts end their runs. `meanwhile` is
    called while it is down, and `on_start` afterwards: the connections of this process are lost,
    too.
    """

    def __init__(
        self,
        url: str,
        services: TorturedServices,
        dice: random.Random,
        done: Counter[str],
        lease_s: float,
        *,
        meanwhile: Callable[[], None],
        on_start: Callable[[], None],
    ) -> None:
        self._url = url
        self._services = services
        self._dice = dice
        self._done = done
        self._lease_s = lease_s
        self._meanwhile = meanwhile
        self._on_start = on_start

    @property
    def harms(self) -> list[WeightedHarm]:
        """What is done, with weights."""
        return [(1, self.kill), (1, self._shut_down), (1, self._freeze)]

    def kill(self, _tortured: TorturedService) -> None:
        """Kills the server; starts it again some time later."""
        self._restart("server killed", crash=True)

    def _shut_down(self, _tortured: TorturedService) -> None:
        self._restart("server shut down", crash=False)

    def _restart(self, what: str, *, crash: bool) -> None:
        postgres_server.stop(self._url, crash=crash)
        self._wait()
        postgres_server.start(self._url)
        self._on_start()
        self._done[what] += 1

    def _freeze(self, _tortured: TorturedService) -> None:
        """Stops all its processes, as a paused virtual machine does: connections stay open."""
        pids = postgres_server.processes(self._url)
        self._signal(pids, signal.SIGSTOP)
        try:
            self._wait()
        finally:
            self._signal(pids, signal.SIGCONT)
        self._done["server frozen"] += 1

    def _signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait(self) -> None:
        seconds = self._dice.choice(
            (0.0, *[self._dice.uniform(0, 3)] * 8, self._dice.uniform(3, _OUTAGE * self._lease_s))
        )
        if seconds > _SHORT_S:
            for tortured in self._services.serving:
                tortured.allowed.add(Exit.IO)  # a stop may be unable to record all in time
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._meanwhile()
            time.sleep(0.1)


class NetworkHarm:
    """Partitions, resets and lost commits of a host's link, its death, and jumps of its clock.

    Of the faults with several hosts at least a tenth are partitions, in both directions or in one,
    and a twentieth are faults of the server; see `faults`.

    `lease_s` is the length of the leases. The warden of a host is not killed together with all
    other processes: the commands would go on.
    """

    def __init__(
        self,
        services: TorturedServices,
        hosts: Sequence[Host],
        dice: random.Random,
        done: Counter[str],
        lease_s: float,
    ) -> None:
        self._lease_s = lease_s
        self._services = services
        self._hosts = hosts
        self._dice = dice
        self._done = done
        self._healed_at_s: dict[Host, float] = {}

    @property
    def harms(self) -> list[WeightedHarm]:
        """What is done, with weights."""
        return [
            (24, self._cut),
            (6, self._reset),
            (10, self._lose_commit),
            (6, self._kill_host),
            (6, self._stop_host),
            (8, self._set_clock),
        ]

    def undo_expired(self, now_s: float) -> None:
        """Heals the links that were cut for long enough."""
        for host in [one for one, at_s in self._healed_at_s.items() if at_s <= now_s]:
            self.heal(host)

    def heal(self, host: Host) -> None:
        """Heals the link of a host."""
        self._healed_at_s.pop(host, None)
        host.link.heal()

    def _host(self, tortured: TorturedService) -> Host:
        return next(host for host in self._hosts if host.queue is tortured.service.queue)

    def _seconds(self) -> float:
        lease_s = self._lease_s
        return self._dice.uniform(
            *self._dice.choice(((0, 2), (0, 2), (2, lease_s), (lease_s, _LONG * lease_s)))
        )

    def _cut(self, tortured: TorturedService) -> None:
        host = self._host(tortured)
        requests, answers = self._dice.choice(((True, True), (True, False), (False, True)))
        host.link.cut(requests=requests, answers=answers)
        tortured.allowed.add(Exit.IO)  # a stop may be unable to record all in time
        self._healed_at_s[host] = time.monotonic() + self._seconds()
        one_way = "requests cut" if requests else "answers cut"
        self._done["link cut" if requests and answers else one_way] += 1

    def _reset(self, tortured: TorturedService) -> None:
        self._host(tortured).link.reset()
        self._done["link reset"] += 1

    def _lose_commit(self, tortured: TorturedService) -> None:
        answer_only = self._dice.random() < 0.5
        self._host(tortured).link.lose_commit(answer_only=answer_only)
        self._done["answer to COMMIT lost" if answer_only else "COMMIT lost"] += 1

    def _kill_host(self, tortured: TorturedService) -> None:
        tortured.kill_all(spared=tortured.warden)
        self._done["SIGKILL host"] += 1

    def _stop_host(self, tortured: TorturedService) -> None:
        pids = {tortured.service.pid, *(pid for slot, pid in tortured.children if slot != WARDEN)}
        self._services.stop(pids, self._seconds())
        self._done["SIGSTOP host"] += 1

    def _set_clock(self, tortured: TorturedService) -> None:
        """Sets the wall clock of the host, up to months forward or back."""
        jump_s = self._dice.choice((-1, 1)) * 10 ** self._dice.uniform(0, _LONGEST_JUMP)
        self._host(tortured).set_clock(round(jump_s * 1000))
        self._done["clock set"] += 1
