"""The harm that a torture does to a PostgreSQL server, to its hosts, and to their links to it."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from queued.core.errors import Exit
from queued.service.ipc.scoreboard import WARDEN
from tests import postgres_server
from tests.hosts.host import Host
from tests.torture.harm import WeightedHarm
from tests.torture.services import TorturedService, TorturedServices

LEASE_S = 15  # the shortest
_LONG = 1.6  # in leases; another host takes over meanwhile


class ServerHarm:
    """Crashes of the server; `url` is that of the queue, and `done` counts them.

    `on_crash` is called after each: the connections of this process are lost, too.
    """

    def __init__(
        self, url: str, dice: random.Random, done: Counter[str], on_crash: Callable[[], None]
    ) -> None:
        self._on_crash = on_crash
        self._url = url
        self._dice = dice
        self._done = done

    def crash(self, _tortured: TorturedService) -> None:
        """Kills the server; starts it again some time later."""
        postgres_server.restart(self._url, self._dice.choice((0.0, self._dice.uniform(0, 3))))
        self._on_crash()
        self._done["server crash"] += 1


class NetworkHarm:
    """Cuts, resets and lost commits of the link of a host, and the death of the host.

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
            (8, self._cut),
            (4, self._reset),
            (8, self._lose_commit),
            (3, self._kill_host),
            (3, self._stop_host),
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
        host.link.cut()
        tortured.allowed.add(Exit.IO)  # a stop may be unable to record all in time
        self._healed_at_s[host] = time.monotonic() + self._seconds()
        self._done["link cut"] += 1

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
