"""The interface of a database engine, with which the programs open a queue's database.

It also does what is done without an open database, and the work on the database as a whole.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from queued.core.errors import QueuedError
from queued.core.model import Instance
from queued.store.ledger import Ledger
from queued.store.protocols import Store
from queued.store.queue_copy import MovablePlace
from queued.store.statistics import DatabaseStats

OnWait = Callable[[float], None]  # called with the seconds of a wait so far, before it goes on
OnError = Callable[[QueuedError], None]  # called once with an error after which a wait goes on
COMPLETIONS = ("jobs", "live-jobs", "dead-jobs", "queues", "schedules", "stored")  # kinds of words


class Prepared(NamedTuple):
    """The stored settings, and the copy that was made before an upgrade (None: no upgrade)."""

    settings: dict[str, str]
    backup_path: str | None


class CheckReport(NamedTuple):
    """`problems`: one line each; the database is good if there are none. `notes` are harmless."""

    problems: list[str]
    notes: list[str]


class DatabaseSizes(NamedTuple):
    """The size of the database before and after a vacuum, in bytes."""

    before: int
    after: int


class Maintenance(Protocol):
    """The commands `queuectl db`, and words for a shell's completion. All need a database.

    All methods raise QueuedError.
    """

    def check(self, *, full: bool) -> CheckReport:
        """Checks one snapshot; `full` takes longer and checks more."""
        ...

    def backup(self, target: str, *, replace: bool) -> int:
        """Writes a copy of one snapshot to an SQLite file; returns its size in bytes."""
        ...

    def restore(self, source: str, *, now_ms: int) -> str | None:
        """Replaces the database by a backup while no service runs.

        Returns the path of the file that keeps the replaced database; None if there was none.
        Raises UsageError if another command does that for this engine.
        """
        ...

    def vacuum(self) -> DatabaseSizes:
        """Returns the space of removed rows to the disk."""
        ...

    def stats(self) -> DatabaseStats:
        """Counts all rows in one snapshot, which takes long if the database is large."""
        ...

    def complete(self, kind: str, prefix: str) -> list[str]:
        """Returns printable words that begin with `prefix`, of a kind of `COMPLETIONS`."""
        ...

    def place(self) -> MovablePlace:
        """Returns the database as `queue_copy.move` takes it; it need not exist."""
        ...


class Engine(Protocol):
    """A database that is not open, and what depends on the engine beside an open one.

    `name` is how messages name the database. The paths of the files that instances have on this
    host begin with `instance_files`. If it `spans_hosts`, instances of several hosts may use it,
    and each has a lease. Environment variables with a prefix of `private_variables` are kept from
    commands. `wait_advice` says how to find out why the database keeps a service waiting.
    """

    spans_hosts: bool
    wait_advice: str
    private_variables: tuple[str, ...]

    @property
    def name(self) -> str:  # noqa: D102 - see the class
        ...

    @property
    def instance_files(self) -> str:  # noqa: D102 - see the class
        ...

    def exists(self) -> bool:
        """Returns whether there is a database; True if that is not known before it is opened."""
        ...

    def prepare(self, limit_s: float, on_error: OnError) -> Prepared:
        """Does what a service needs before its first fork: creates the database if it is missing.

        Upgrades it if no other program can be in the way.
        """
        ...

    def upgrade(self, limit_s: float) -> str | None:
        """Creates the database, or brings an older one to the schema of this program.

        Returns the path of the copy that was made before; None if none was made.
        """
        ...

    def open_store(
        self, limit_s: float | None, on_wait: OnWait | None = None, *, writes: bool = True
    ) -> Store:
        """Opens the database, which is created or upgraded first if that is needed.

        If it cannot be written, and the caller only reads (not `writes`), it is opened for reading.
        A statement waits at most `limit_s` for other programs (None: no limit).
        """
        ...

    def open_ledger(self, on_wait: OnWait) -> Ledger:
        """Opens the database, which exists, for the dispatcher; it waits without a limit."""
        ...

    def import_ledger(self) -> None:
        """Imports the modules of the ledger: a process that is forked then imports none of them.

        It could import those of another version, after an upgrade in place.
        """
        ...

    def maintenance(self, limit_s: float | None, on_wait: OnWait | None = None) -> Maintenance:
        """Returns the commands for the database as a whole; they wait at most `limit_s`."""
        ...

    def is_alive(self, instance: Instance) -> bool:
        """Returns whether an instance lives, for people. Raises OSError if that cannot be told."""
        ...

    def wait_until_dead(self, instance: Instance, timeout_s: float | None) -> None:
        """Waits until no process of the instance lives. Raises WaitTimeoutError."""
        ...

    def check_trust(self) -> None:
        """Raises QueuedError if others than its owner could make a service run their commands."""
        ...

    def describe(self) -> str:
        """Returns what a service would find, without changing anything.

        Raises the QueuedError that a start would end with.
        """
        ...
