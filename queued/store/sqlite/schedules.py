"""Schedules in an SQLite file; see `store.schedules` and `store.firings`."""

from functools import partial

from queued.core import queue_defaults  # noqa: F401  `admit` would import it after the fork
from queued.core.model import NewJob
from queued.store.firings import Firings
from queued.store.schedules import Schedules
from queued.store.sqlite.connection import Database
from queued.store.sqlite.new_jobs import NewJobs
from queued.store.sqlite.queues import SqliteQueues


def schedules(database: Database) -> Schedules:
    """Returns the schedules for queuectl."""
    insert = partial(_insert, database)
    return Schedules(database, insert, database.transaction, database.reading)


def firings(database: Database) -> Firings:
    """Returns the schedules for the dispatcher."""
    return Firings(database, partial(_insert, database), partial(_cancel, database))


def _insert(database: Database, job: NewJob, max_retries: int, now_ms: int) -> str:
    jobs, new_jobs = SqliteQueues(database).admit([job]), NewJobs(database)
    new_jobs.make_lanes(jobs)
    return new_jobs.insert(jobs, max_retries=max_retries, now_ms=now_ms)[0]


def _cancel(database: Database, job: int, now_ms: int) -> None:
    database.run("cancel", job=job, now=now_ms)
    database.run("cancel_running", job=job, now=now_ms)
