"""Which claims each worker holds: the one it runs, and a few that it runs next, in its hand.

A worker whose jobs are quick is handed more while it still runs one, so that it need not wait for
the commit that records the last. It gives back what would have to wait for long.
"""

from collections.abc import Iterable, Iterator

from queued.core.model import Claim, Key
from queued.service.ipc.messages import QUICK_S

_QUICK_MS = round(QUICK_S * 1000)
MOST = 16  # in a hand


class ClaimTable:
    """Claims by worker, oldest first: a worker runs them in this order.

    Those that it begins with are another dispatcher's: whom they were sent to is not known.
    """

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        claims = list(claims)
        self._inherited = frozenset(claim.key for claim in claims)
        self._held: dict[int, tuple[Claim, ...]] = {}
        self._room: dict[int, int] = {}  # by worker, if it is quick
        for claim in claims:
            self.take(claim)

    def copy(self) -> "ClaimTable":
        """As they are now; both may change without the other."""
        made = ClaimTable()
        made._held, made._room = dict(self._held), dict(self._room)
        made._inherited = self._inherited
        return made

    def __iter__(self) -> Iterator[Claim]:
        """All claims."""
        for claims in self._held.values():
            yield from claims

    def of(self, worker: int) -> tuple[Claim, ...]:
        """What the worker holds."""
        return self._held.get(worker, ())

    def find(self, worker: int, key: Key) -> Claim | None:
        """The worker's claim with this key; None if it is not in force."""
        for claim in self.of(worker):
            if claim.key == key:
                return claim
        return None

    def inherited(self, claim: Claim) -> bool:
        """Whether another dispatcher made the claim."""
        return claim.key in self._inherited

    def busy(self) -> list[int]:
        """The workers that hold any."""
        return sorted(self._held)

    def running(self) -> list[Claim]:
        """The oldest claim of each worker."""
        return [self._held[worker][0] for worker in self.busy()]

    def take(self, claim: Claim) -> None:
        """Its worker holds it from now on."""
        self._held[claim.worker] = (*self.of(claim.worker), claim)

    def drop(self, claim: Claim) -> None:
        """It is settled or given back."""
        held = self.of(claim.worker)
        if held and held[0] is claim:
            left = held[1:]  # as a rule it is the oldest
        else:
            left = tuple(one for one in held if one.key != claim.key)
        if left:
            self._held[claim.worker] = left
        else:
            self._held.pop(claim.worker, None)

    # Who is handed more

    def ran(self, worker: int, ran_ms: int | None) -> None:
        """How long the worker's last run took."""
        if ran_ms is not None and ran_ms <= _QUICK_MS:
            self._room[worker] = min(MOST, _QUICK_MS // max(1, ran_ms))
        else:
            self._room.pop(worker, None)

    def room(self, workers: Iterable[int]) -> Iterator[int]:
        """Who may have one more, as often as that is: first who has least, then by turns."""
        places = [
            (worker, range(len(self.of(worker)), self._room.get(worker, 0) + 1))
            for worker in workers
        ]
        least = min((free.start for _, free in places), default=0)
        most = max((free.stop for _, free in places), default=0)
        for held in range(least, most):
            for worker, free in places:
                if held in free:
                    yield worker
