"""The metrics of a queue, as families of `prometheus_client`."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from queued import __version__
from queued.core.model import PARTS_OF_PENDING, Label
from queued.core.records import Summary
from queued.core.run_totals import BOUNDS_MS, UNBOUNDED, UNKNOWN, RunTotal
from queued.core.times import now_ms
from queued.ctl.context import Context
from queued.ctl.live_services import live_instances
from queued.store.queues import QueueStore


def families(context: Context) -> list[Metric]:
    """Returns all metrics of the database. Raises QueuedError if it cannot be read."""
    now = now_ms()
    numbers = context.store.numbers
    totals, sizes = numbers.run_totals(), numbers.sizes()
    return [
        up(1),
        *_jobs(context.store.status(now_ms=now), now),
        _of_queues(
            "queued_queue_oldest_ready_seconds",
            "How long the oldest ready job of the queue has been waiting.",
            {
                queue: max(0, now - due) / 1000
                for queue, due in context.store.queues.oldest_ready().items()
            },
        ),
        *_limits(context.store.queues, now),
        *_runs(totals),
        *_services(context),
        _gauge("queued_database_bytes", "Size of the database.", sizes.database),
        _gauge("queued_wal_bytes", "Size of the write-ahead log of an SQLite file.", sizes.log),
    ]


def up(value: int) -> Metric:
    """Returns whether the database could be read."""
    family = GaugeMetricFamily("queued_up", "1 if the database could be read.", labels=["version"])
    family.add_metric([__version__], value)
    return family


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value)


def _of_queues(name: str, told: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=["queue"])
    for queue, value in values.items():
        family.add_metric([queue], value)
    return family


def _limits(queues: QueueStore, now: int) -> Iterator[Metric]:
    stored, used = queues.all(), queues.used_places()
    limits = {one.name: one.concurrency for one in stored if one.concurrency is not None}
    windows = queues.start_windows([one.name for one in stored], now_ms=now)
    yield _of_queues("queued_queue_concurrency", "Limit of running jobs of the queue.", limits)
    yield _of_queues(
        "queued_queue_places_used",
        "Places of that limit that running jobs take.",
        {queue: used.get(queue, 0) for queue in limits},
    )
    yield _of_queues(
        "queued_queue_starts_left",
        "How many jobs of the queue its rate allows to start now.",
        {queue: window.left for queue, window in windows.items()},
    )


def _jobs(summary: Summary, now: int) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("queued_jobs", "Jobs by queue and state.", labels=["queue", "state"])
    for queue, counts in summary.queues.items():
        # The count of `pending` includes the labels that are parts of this state.
        plain = counts[Label.PENDING] - sum(counts[part] for part in PARTS_OF_PENDING)
        for label, count in (counts | {Label.PENDING: plain}).items():
            jobs.add_metric([queue, label], count)
    yield jobs
    due = summary.oldest_due_ms
    age_s = 0.0 if due is None else max(0, now - due) / 1000
    yield _gauge(
        "queued_oldest_ready_seconds", "How long the oldest ready job has been waiting.", age_s
    )


def _runs(totals: list[RunTotal]) -> Iterator[Metric]:
    runs = CounterMetricFamily(
        "queued_runs", "Runs that have ended, by result.", labels=["queue", "result"]
    )
    counts: dict[tuple[str, str], int] = {}
    for one in totals:
        counts[one.queue, one.result] = counts.get((one.queue, one.result), 0) + one.runs
    for (queue, result), count in counts.items():
        runs.add_metric([queue, result], count)
    yield runs
    yield _histogram(
        "queued_wait_seconds",
        "Time from when a job was due to its claim.",
        [(one.queue, one.waited_le, one.runs, one.waited_ms) for one in totals],
    )
    yield _histogram(
        "queued_run_seconds",
        "Time that runs took.",
        [(one.queue, one.ran_le, one.runs, one.ran_ms) for one in totals],
    )


def _histogram(name: str, told: str, counted: Iterable[tuple[str, int, int, int]]) -> Metric:
    """Returns the histogram of each queue; `counted` has queue, bound, runs and their time."""
    buckets: dict[str, dict[int, int]] = {}
    sums: dict[str, int] = {}
    for queue, bound, runs, total_ms in counted:
        if bound != UNKNOWN:
            known = buckets.setdefault(queue, dict.fromkeys((*BOUNDS_MS, UNBOUNDED), 0))
            known[bound] = known.get(bound, 0) + runs
            sums[queue] = sums.get(queue, 0) + total_ms
    family = HistogramMetricFamily(name, told, labels=["queue"])
    for queue, known in buckets.items():
        family.add_metric([queue], list(_cumulated(known)), sums[queue] / 1000)
    return family


def _cumulated(known: dict[int, int]) -> Iterator[tuple[str, int]]:
    unbounded, reached = known.pop(UNBOUNDED), 0
    for bound in sorted(known):
        reached += known[bound]
        yield str(bound / 1000), reached
    yield "+Inf", reached + unbounded


def _services(context: Context) -> Iterator[Metric]:
    hosts = {one.id: one.host for one in live_instances(context)}
    workers = [one for one in context.store.workers() if one.instance in hosts]
    for name, told, found in (
        ("queued_services", "Services that run.", list(hosts.values())),
        ("queued_workers", "Their workers.", [hosts[one.instance] for one in workers]),
        (
            "queued_workers_busy",
            "Those that run a job.",
            [hosts[w.instance] for w in workers if w.job],
        ),
    ):
        family = GaugeMetricFamily(name, told, labels=["host"])
        for host in sorted(set(hosts.values())) or [""]:
            family.add_metric([host], found.count(host))
        yield family
