"""The claims of each worker: the one that it runs, and a few that it prefetched.

A worker whose jobs are quick is sent further jobs while it still runs one, so that it does not
wait for the commit of its last result. It gives back claims that would wait too long.
"""

from collections.abc import Iterable, Iterator

from queued.core.runs import Claim, Key
from queued.service.ipc.messages import QUICK_S

_QUICK_MS = round(QUICK_S * 1000)
MOST_PREFETCHED = 16


class ClaimTable:
    """Claims by worker, oldest first: a worker runs them in this order.

    The claims of the constructor, and those of `inherit`, were made by an earlier dispatcher.
    """

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        claims = list(claims)
        self._inherited = frozenset(claim.key for claim in claims)
        self._held: dict[int, tuple[Claim, ...]] = {}
        # By quick worker: the number of claims that it may hold besides the one that it runs.
        self._prefetch: dict[int, int] = {}
        for claim in claims:
            self.add(claim)

    def copy(self) -> "ClaimTable":
        """Returns an independent copy."""
        made = ClaimTable()
        made._held, made._prefetch = dict(self._held), dict(self._prefetch)
        made._inherited = self._inherited
        return made

    def __iter__(self) -> Iterator[Claim]:
        """Yields all claims."""
        for claims in self._held.values():
            yield from claims

    def of(self, worker: int) -> tuple[Claim, ...]:
        """Returns the claims that the worker holds."""
        return self._held.get(worker, ())

    def find(self, worker: int, key: Key) -> Claim | None:
        """Returns the worker's claim with this key; None if there is no such claim."""
        for claim in self.of(worker):
            if claim.key == key:
                return claim
        return None

    def is_inherited(self, claim: Claim) -> bool:
        """Returns whether an earlier dispatcher made the claim."""
        return claim.key in self._inherited

    def busy(self) -> list[int]:
        """Returns the workers that hold claims."""
        return sorted(self._held)

    def running(self) -> list[Claim]:
        """Returns the oldest claim of each worker."""
        return [self._held[worker][0] for worker in self.busy()]

    def add(self, claim: Claim) -> None:
        """Gives the claim to its worker."""
        self._held[claim.worker] = (*self.of(claim.worker), claim)

    def inherit(self, claim: Claim) -> None:
        """Gives the claim to the worker that has it from an earlier dispatcher."""
        self._inherited |= {claim.key}
        self.add(claim)

    def remove(self, claim: Claim) -> None:
        """Removes a claim that was settled or given back."""
        held = self.of(claim.worker)
        if held and held[0] is claim:
            left = held[1:]  # the usual case
        else:
            left = tuple(other for other in held if other.key != claim.key)
        if left:
            self._held[claim.worker] = left
        else:
            self._held.pop(claim.worker, None)

    def note_run(self, worker: int, ran_ms: int | None) -> None:
        """Sets how many claims the worker may prefetch, by the duration of its last run."""
        if ran_ms is not None and ran_ms <= _QUICK_MS:
            self._prefetch[worker] = min(MOST_PREFETCHED, _QUICK_MS // max(1, ran_ms))
        else:
            self._prefetch.pop(worker, None)

    def will_last(self, worker: int) -> bool:
        """Returns whether its prefetched claims will keep the worker busy for half of `QUICK_S`."""
        return 2 * (len(self.of(worker)) - 1) >= self._prefetch.get(worker, 0) > 0

    def assignable(self, workers: Iterable[int]) -> Iterator[int]:
        """Yields each worker once for each claim that it may still get, fewest claims first."""
        # For each worker, the numbers of held claims at which it may get another one.
        free_ranges = [
            (worker, range(len(self.of(worker)), self._prefetch.get(worker, 0) + 1))
            for worker in workers
        ]
        least = min((free.start for _, free in free_ranges), default=0)
        most = max((free.stop for _, free in free_ranges), default=0)
        for held in range(least, most):
            for worker, free in free_ranges:
                if held in free:
                    yield worker
