"""Schedules in a PostgreSQL database; see `store.schedules` and `store.firings`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from queued.core.model import NewJob
from queued.store.firings import Firings
from queued.store.postgres.connection import Database
from queued.store.postgres.new_jobs import NewJobs
from queued.store.postgres.queues import StoreQueues
from queued.store.schedules import Schedules


def schedules(database: Database) -> Schedules:
    """Returns the schedules for queuectl."""

    @contextmanager
    def writing() -> Iterator[None]:
        with database.transaction("operator"):
            yield
        database.notify("notify_all")

    return Schedules(database, partial(_insert, database), writing, database.reading)


def firings(database: Database) -> Firings:
    """Returns the schedules for the dispatcher."""
    return Firings(database, partial(_insert, database), partial(_cancel, database))


def _insert(database: Database, job: NewJob, max_retries: int, now_ms: int) -> str:
    jobs, new_jobs = StoreQueues(database).admit([job]), NewJobs(database)
    new_jobs.make_lanes(jobs)
    return new_jobs.insert(jobs, max_retries=max_retries, now_ms=now_ms)[0]


def _cancel(database: Database, job: int, now_ms: int) -> None:
    database.run("cancel", jobs=[job], now=now_ms)
