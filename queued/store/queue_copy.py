"""Copies a queue from one database to another, whatever their engines, and moves it there.

A move never leaves two queues that programs use. The copy is committed with a mark, with which all
programs refuse it. Then the old queue gets a mark, too. At last the mark of the copy is removed. An
interrupted move goes on when it is started again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from queued.core.errors import BusyError, CommitUnknownError, QueuedError, StorageError, UsageError
from queued.core.model import Label
from queued.store.move_mark import MoveMark

Row = tuple[Any, ...]

# The tables in the order in which they refer to each other, and the columns of their keys. Services
# and their workers are not copied, nor what triggers make of the jobs.
KEYS = {
    "settings": "key",
    "drained_hosts": "host",
    "schedules": "name",
    "lanes": "id",
    "queues": "name",
    "jobs": "seq",
    "attempts": "job, number",
    "output": "job, number, stream, position",
    "inputs": "job",
    "run_totals": "instance, queue, result, waited_le, ran_le",
    "run_periods": "length_ms, begins_at, instance, queue, result, measure, bucket",
    "dependencies": "on_job, job, condition",
    "starts": "kind, owner, number",
    "rated_keys": "key",
}


class QueueTables(Protocol):
    """The tables of a queue in one transaction, all as they are at one moment."""

    def columns(self, table: str) -> list[str]:
        """Returns the names of the columns that are stored."""
        ...

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """Yields the rows in the order of their key; the memory does not grow with them."""
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Replaces all rows of the table; booleans may be given as 0 and 1."""
        ...

    def last_seq(self) -> int:
        """Returns the highest `seq` that a job of the queue ever had; 0 if there was none."""
        ...

    def set_last_seq(self, number: int) -> None:
        """Gives the next job a higher `seq` than `number`; call it before the first `insert`."""
        ...

    def close(self, mark: MoveMark) -> None:
        """Makes every program refuse the queue after the commit, also one that has it open."""
        ...


class CopiedTable(NamedTuple):
    """How many rows were copied, and a checksum of them, which is the same in both databases."""

    rows: int
    checksum: str


class WriteBackup(Protocol):
    """Writes a copy of a queue to an SQLite file; returns its size in bytes.

    Raises ConflictError if there is a file that it may not `replace`.
    """

    def __call__(self, source: QueueTables, target: str, *, replace: bool) -> int:  # noqa: D102
        ...


class MovablePlace(Protocol):
    """A database from which, or to which, a queue is moved; `place` names it in a command."""

    place: str

    def mark(self) -> MoveMark | None:
        """Returns the mark of the queue; None if it has none, or if there is no queue."""
        ...

    def held(self) -> AbstractContextManager[QueueTables]:
        """Holds the queue in a transaction in which no other program can write; commits at the end.

        Raises BusyError while a service lives, or a job is processing.
        """
        ...

    def receive(self, source: QueueTables, mark: MoveMark) -> dict[str, CopiedTable]:
        """Makes a marked copy of the source in one transaction, which replaces an unfinished copy.

        Raises ConflictError if there is another queue with jobs or settings.
        """
        ...

    def open(self) -> None:
        """Removes the mark."""
        ...


def move(source: MovablePlace, target: MovablePlace, host: str) -> dict[str, CopiedTable]:
    """Moves a queue, or goes on with a move that was interrupted. Returns the tables copied now."""
    if source.place == target.place:
        msg = f"{source.place} is the database itself; name the one to move with --db"
        raise UsageError(msg)
    arriving = MoveMark(gone=False, place=source.place, host=host)
    gone = MoveMark(gone=True, place=target.place, host=host)
    copied: dict[str, CopiedTable] = {}
    try:
        if not (gone.same(source.mark()) and arriving.same(target.mark())):
            with source.held() as queue:
                copied = target.receive(queue, arriving)
                queue.close(gone)
        target.open()
    except QueuedError as error:
        if not copied and not isinstance(error, CommitUnknownError):
            raise
        msg = f"{error}; the move is not finished: give the same command again"
        raise type(error)(msg) from error
    return copied


def copy(source: QueueTables, target: QueueTables) -> dict[str, CopiedTable]:
    """Copies all rows, reads them again from the copy, and compares both.

    Raises StorageError if they differ; the caller then rolls the copy back.
    """
    target.set_last_seq(source.last_seq())
    return {table: _copy_table(source, target, table) for table in KEYS}


def _copy_table(source: QueueTables, target: QueueTables, table: str) -> CopiedTable:
    stored = target.columns(table)
    columns = [column for column in source.columns(table) if column in stored]
    given, found = _Tally(), _Tally()
    target.insert(table, columns, given.counted(source.rows(table, columns)))
    for _ in found.counted(target.rows(table, columns)):
        pass
    if given.result() != found.result():
        told = f"{given.rows} rows of {table} were copied, and {found.rows} read again differ"
        msg = f"{told}; nothing was changed"
        raise StorageError(msg)
    return given.result()


class _Tally:
    """Counts rows, and makes a checksum of them."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows += 1
            self._hash.update(repr(row).encode())
            yield row

    def result(self) -> CopiedTable:
        return CopiedTable(self.rows, self._hash.hexdigest())


def must_be_idle(where: str, living: Sequence[str], counts: Iterable[Row] = ()) -> None:
    """Raises BusyError if services live, or jobs are processing that a dead service has left.

    `counts` are the numbers of jobs by label.
    """
    if living:
        told = f"a service runs on {where} ({', '.join(living)})"
        msg = f"{told}; stop it first: queuectl worker stop"
        raise BusyError(msg)
    processing = sum(count for label, count in counts if label == Label.PROCESSING)
    if processing:
        told = f"{processing} jobs of {where} are processing, and their service is dead"
        msg = f"{told}; start a service, which ends them, and stop it: queuectl worker start"
        raise BusyError(msg)
