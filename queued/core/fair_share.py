"""Start-time fair queueing: which queues the next starts belong to, by priority and weight.

Each queue has a tag, the virtual time at which its next start is due; a start moves the tag by
1 / weight. The next start belongs to the queue with the smallest tag among those of the highest
priority. A queue that was empty begins at the virtual time of now, so that it saves up no starts.
"""

import heapq
from collections.abc import Mapping
from typing import NamedTuple


class Policy(NamedTuple):
    """How a queue shares starts with others. `limited`: it has a limit or a rate."""

    priority: int = 0
    weight: int = 1
    limited: bool = False


class FairShare:
    """Divides starts among queues that may have ready jobs. All steps are logarithmic."""

    def __init__(self) -> None:
        self._tags: dict[str, float] = {}
        self._now: dict[int, float] = {}  # the virtual time of each priority
        self._policies: dict[str, Policy] = {}
        self._dropped: set[str] = set()  # their entries in the heap are void
        self._heap: list[tuple[int, float, str]] = []
        self._bases: dict[str, float] = {}  # the tags before the last `pick`

    def restart(self, policies: Mapping[str, Policy]) -> None:
        """Sets the queues that may have ready jobs; forgets those whose tags are over."""
        now = {one.priority: self._now.get(one.priority, 0.0) for one in policies.values()}
        earliest = min(now.values(), default=0.0)
        self._tags = {name: tag for name, tag in self._tags.items() if tag > earliest}
        self._policies, self._now = dict(policies), now
        self._dropped, self._bases = set(), {}
        self._heap = [
            (-one.priority, max(self._tags.get(name, 0.0), now[one.priority]), name)
            for name, one in policies.items()
        ]
        heapq.heapify(self._heap)

    def add(self, name: str, policy: Policy) -> None:
        """Adds a queue that may have ready jobs again, or does nothing if it was not dropped."""
        if name in self._policies and name not in self._dropped:
            return
        self._heap = [entry for entry in self._heap if entry[2] != name]
        self._dropped.discard(name)
        self._policies[name] = policy
        now = self._now.setdefault(policy.priority, 0.0)
        self._heap.append((-policy.priority, max(self._tags.get(name, 0.0), now), name))
        heapq.heapify(self._heap)

    def pick(self, count: int, *, unlimited_only: bool = False) -> dict[str, int]:
        """Returns the next `count` starts by queue, the first one's queue first.

        Each of these queues must be given to `charge` before the next call. With `unlimited_only`,
        limited queues get none.
        """
        picked: dict[str, int] = {}
        passed: list[tuple[int, float, str]] = []
        while count > 0 and self._heap:
            rank, tag, name = heapq.heappop(self._heap)
            if name in self._dropped:
                continue
            if unlimited_only and self._policies[name].limited:
                passed.append((rank, tag, name))
                continue
            starts = 1 if self._heap else count
            self._bases.setdefault(name, tag)
            picked[name] = picked.get(name, 0) + starts
            heapq.heappush(self._heap, (rank, tag + starts / self._policies[name].weight, name))
            count -= starts
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return picked

    def charge(self, name: str, asked: int, started: int) -> None:
        """Records that `started` of the picked starts were made; if fewer, the queue is dropped."""
        base, policy = self._bases.pop(name), self._policies[name]
        self._tags[name] = base + started / policy.weight
        if started:
            self._now[policy.priority] = max(self._now[policy.priority], base)
        if started < asked:
            self._dropped.add(name)
