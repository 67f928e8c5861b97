"""Which claims each worker holds: the one it runs, and perhaps the next one, in its hand.

A worker whose jobs are quick is handed the next one while it still runs one, so that it need not
wait for the commit that records the last. It gives it back if the one it runs takes longer.
"""

from collections.abc import Iterable, Iterator

from queued.core.model import Claim, Key

QUICK_S = 0.02  # a run that takes no longer is quick


class Hands:
    """Claims by worker, oldest first: a worker runs them in this order.

    Those that it begins with are another dispatcher's: whom they were sent to is not known.
    """

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        claims = list(claims)
        self._inherited = frozenset(claim.key for claim in claims)
        self._held: dict[int, tuple[Claim, ...]] = {}
        self._quick: set[int] = set()
        for claim in claims:
            self.take(claim)

    def copy(self) -> "Hands":
        """As they are now; both may change without the other."""
        made = Hands()
        made._held, made._quick = dict(self._held), set(self._quick)
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
        return next((claim for claim in self.of(worker) if claim.key == key), None)

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
        left = tuple(held for held in self.of(claim.worker) if held.key != claim.key)
        if left:
            self._held[claim.worker] = left
        else:
            self._held.pop(claim.worker, None)

    # Who is handed one more

    def ran(self, worker: int, ran_ms: int | None) -> None:
        """How long the worker's last run took."""
        if ran_ms is not None and ran_ms <= QUICK_S * 1000:
            self._quick.add(worker)
        else:
            self._quick.discard(worker)

    def empty(self, worker: int) -> bool:
        """Whether the worker has nothing to do."""
        return worker not in self._held

    def open(self, worker: int) -> bool:
        """Whether one more may be put into the worker's hand."""
        return worker in self._quick and len(self.of(worker)) == 1
