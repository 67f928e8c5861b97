"""The interface of a database engine for queues as such: limits, shares, pauses and defaults."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from queued.core.rates import Rate
from queued.core.records import Queue, StartWindow


class QueueLedger(Protocol):
    """What the dispatcher reads about queues, inside a transaction."""

    def all(self) -> Sequence[Queue]:
        """Returns what users have set for queues."""
        ...

    def ready_lanes(self) -> Sequence[int]:
        """Returns the lanes that have ready jobs."""
        ...

    def used_places(self) -> dict[str, int]:
        """Returns how many places of each limited queue running jobs take."""
        ...

    def full_rates(self, queues: Iterable[str], now_ms: int) -> dict[str, StartWindow]:
        """Returns the windows of those of the queues whose rates allow no start now.

        A start in the future, which the clock may leave if it is set back, counts as made now.
        """
        ...

    def take_retry_ms(self) -> int | None:
        """Returns when another turn must follow the claims; None if none need follow.

        The next call returns None. A claim leaves out a queue whose limit another program uses, and
        after starts of keys with a rate `promote` must find out when the next one is allowed.
        """
        ...

    def rate_waits(self, lanes: Iterable[int]) -> bool:
        """Returns whether a job of one of the lanes waits for the rate of its key.

        Of each key it is the first one in line. Call it after `promote`.
        """
        ...

    def time_waits(self, lanes: Iterable[int], by_ms: int) -> bool:
        """Returns whether a job of one of the lanes becomes due by a time, but for held jobs."""
        ...


class QueueStore(Protocol):
    """The verbs of queuectl for queues."""

    def all(self) -> Sequence[Queue]:
        """Returns what users have set for queues, in the order of names."""
        ...

    def used_places(self) -> dict[str, int]:
        """Returns how many places of each limited queue running jobs take."""
        ...

    def start_windows(self, queues: Iterable[str], *, now_ms: int) -> dict[str, StartWindow]:
        """Returns what the rates of these queues allow now; leaves out queues without a rate."""
        ...

    def oldest_ready(self) -> dict[str, int]:
        """Returns when the oldest ready job of each queue was due, in milliseconds UTC."""
        ...

    def change(self, name: str, **changes: Any) -> Queue:  # noqa: ANN401 - fields of Queue
        """Changes fields of a queue, which is stored if it was not; returns it."""
        ...

    def key_users(self, key: str) -> Sequence[str]:
        """Returns the ids of jobs that have a place of a key, running ones first; three at most."""
        ...

    def key_window(self, key: str) -> tuple[Rate, int] | None:
        """Returns the rate that the first job in the line of a key waits for, and until when.

        None if it waits for something else, or no service has looked at it.
        """
        ...

    def change_each(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Changes fields of queues by their names, all in one transaction; see `change`."""
        ...

    def remove(self, name: str) -> bool:
        """Deletes what users have set for a queue; returns whether there was something."""
        ...
