"""What the commands for queues print about a queue."""

from collections.abc import Iterable
from typing import NamedTuple

from queued.core.errors import NotFoundError
from queued.core.model import Label, State
from queued.core.records import Queue, StartWindow
from queued.core.times import iso, local_clock, now_ms
from queued.ctl.context import Context
from queued.ctl.table import Column

COLUMNS = (
    Column("QUEUE", 16),
    Column("STATE", 9),
    Column("PENDING", 7, right=True),
    Column("RUNNING", 9, right=True),
    Column("PRIORITY", 8, right=True),
    Column("WEIGHT", 6, right=True),
    Column("REASON", 0),
)


class QueueView(NamedTuple):
    """A queue, the numbers of its jobs, and how many places its running jobs take.

    `oldest_s`: for how long its oldest ready job has been waiting; None if none is ready.
    `window`: what its rate allows now; None if it has none.
    """

    queue: Queue
    counts: dict[Label, int]
    used: int
    oldest_s: float | None
    window: StartWindow | None

    @property
    def running(self) -> int:
        """Returns the number of running jobs."""
        return self.counts.get(Label.PROCESSING, 0)

    @property
    def pending(self) -> int:
        """Returns the number of jobs that wait, for whatever reason."""
        return self.counts.get(Label.PENDING, 0)

    @property
    def state(self) -> str:
        """Returns suspended, paused, draining, full or open."""
        if self.queue.suspended_ms is not None:
            return "suspended"
        if self.queue.paused_ms is not None:
            return "paused"
        if self.queue.draining_ms is not None:
            return "draining"
        limit = self.queue.concurrency
        full = limit is not None and self.used >= limit
        return "full" if full or (self.window and not self.window.left) else "open"

    @property
    def starts(self) -> str | None:
        """Returns what its rate allows now; None without a rate."""
        if self.window is None:
            return None
        next_ms, left = self.window.next_ms, self.window.left
        now = f"{left} left" if next_ms is None else f"next start at {local_clock(next_ms)}"
        return f"{self.queue.rate}, {now}"

    def cells(self) -> list[str]:
        """Returns the cells of `COLUMNS`."""
        queue, limit = self.queue, self.queue.concurrency
        used = str(self.running) if limit is None else f"{self.used}/{limit}"
        drains = queue.draining_ms is not None and self.state != "draining"
        reasons = (queue.paused_reason, "takes no new jobs" if drains else None, self.starts)
        return [
            *(queue.name, self.state, str(self.pending), used),
            *(str(queue.priority), str(queue.weight), "; ".join(filter(None, reasons))),
        ]

    def record(self) -> dict[str, object]:
        """Returns the queue as a JSON object."""
        import json

        queue, window = self.queue, self.window
        next_ms = None if window is None else window.next_ms
        return {
            "name": queue.name,
            "state": self.state,
            "concurrency": queue.concurrency,
            "places_used": self.used if queue.concurrency is not None else self.running,
            "rate": None if queue.rate is None else str(queue.rate),
            "starts_left": None if window is None else window.left,
            "next_start_at": None if next_ms is None else iso(next_ms),
            "priority": queue.priority,
            "weight": queue.weight,
            "paused_at": None if queue.paused_ms is None else iso(queue.paused_ms),
            "paused_by": queue.paused_by,
            "paused_reason": queue.paused_reason,
            "suspended_at": None if queue.suspended_ms is None else iso(queue.suspended_ms),
            "draining_at": None if queue.draining_ms is None else iso(queue.draining_ms),
            "note": queue.note,
            "defaults": json.loads(queue.defaults),
            "oldest_age": self.oldest_s,
            "jobs": {str(state): self.counts.get(Label(state), 0) for state in State},
        }


def view_of(context: Context, name: str) -> QueueView:
    """Returns one of the queues that `views_of` returns. Raises NotFoundError."""
    views = {view.queue.name: view for view in views_of(context)}
    if name not in views:
        raise unknown_queue(name, views)
    return views[name]


def unknown_queue(name: str, known: Iterable[str]) -> NotFoundError:
    """Returns the error of a command for a queue that must exist."""
    from queued.core.suggestions import did_you_mean

    return NotFoundError(f"no queue {name!r}{did_you_mean(name, known)} (see: queuectl queue list)")


def views_of(context: Context) -> list[QueueView]:
    """Returns the queue `default`, and all that have jobs or settings of their own."""
    now = now_ms()
    counts = context.store.status(now_ms=now).queues
    stored = {queue.name: queue for queue in context.store.queues.all()}
    used = context.store.queues.used_places()
    windows = context.store.queues.start_windows(stored, now_ms=now)
    ages = {
        name: max(0, now - due) / 1000 for name, due in context.store.queues.oldest_ready().items()
    }
    return [
        QueueView(
            *(stored.get(name, Queue(name)), counts.get(name, {}), used.get(name, 0)),
            *(ages.get(name), windows.get(name)),
        )
        for name in sorted({"default", *counts, *stored})
    ]
