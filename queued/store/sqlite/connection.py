"""Opens the database file with the SQLite settings for durability; runs named statements on it.

SQLite alone may open the file: closing any other descriptor to it would drop SQLite's locks.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import Enum, auto
from functools import partial
from typing import Any

import apsw

from queued.core.errors import ConfigError, DatabaseUnusableError, StorageError
from queued.store import permissions
from queued.store.sqlite import schema, sql_loader
from queued.store.sqlite.busy_handler import BusyHandler, retry_protocol_errors
from queued.store.sqlite.error_names import named_errors
from queued.store.sqlite.open_files import OpenFiles
from queued.store.sqlite.terminal_stops import delayed_stops

Value = int | float | str | bytes | None
Values = Mapping[str, Value]  # by the name that the statement gives them
Row = tuple[Any, ...]  # of the types that its statement selects
Upgrade = Callable[[apsw.Connection, str, BusyHandler], str | None]

_SAFE_SQLITE = (3, 51, 3)  # before it, two connections that write and checkpoint may lose commits
# Symbolic links were resolved before. A link that has replaced the file since then is refused.
OPEN_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
_STEPS_BETWEEN_SIGNALS = 20_000  # of SQLite's virtual machine; about 2 ms
_WAL_KEPT = 16 * 1024 * 1024  # the size to which a checkpoint truncates a larger WAL


class Access(Enum):
    """How a database is opened."""

    CREATE = auto()  # for reading and writing; a file that is missing is made
    WRITE = auto()
    READ = auto()  # its side files exist, or the directory can be written
    SNAPSHOT = auto()  # without side files, for a directory that cannot be written


class Database:
    """An open database: the connection, its named statements, and transactions.

    `upgrade` applies the missing migrations and returns the path of the backup that it made.
    """

    def __init__(
        self,
        path: str,
        busy_handler: BusyHandler,
        upgrade: Upgrade,
        access: Access = Access.CREATE,
    ) -> None:
        self.path = path
        self._busy_handler = busy_handler
        self._upgrade = upgrade
        self.backup_path: str | None = None  # of the backup that was made before an upgrade
        self._full: bool | None = None
        self._seen: int | None = None
        with named_errors(path):
            self._sql = sql_loader.load()
            must_have_safe_sqlite()
            writes = access in {Access.CREATE, Access.WRITE}
            if writes:
                _make(path, create=access is Access.CREATE)
            self._files = OpenFiles(path)
            # The busy handler must be there before the first statement, which may meet a recovery.
            self._connection = (
                apsw.Connection(path, flags=OPEN_FLAGS) if writes else open_reading(path, access)
            )
            self._connection.set_busy_handler(busy_handler)
            try:
                with self.named_errors():
                    retry_protocol_errors(partial(self._prepare, writes=writes), busy_handler)
            except BaseException:
                close_untouched(self._connection, path)
                raise

    def _prepare(self, *, writes: bool) -> None:
        connection = self._connection
        self._schema, version = schema.latest(), schema.check(connection, self.path)
        # The file may come from another user, whose schema must not be able to run functions.
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        # Without it, SQLite with STAT4 prepares each statement with bound values again at each run.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        if writes:
            self._make_durable(full=True)
            if version < self._schema or connection.pragma("journal_mode") != "wal":
                self.backup_path = self._upgrade(connection, self.path, self._busy_handler)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.pragma("journal_size_limit", _WAL_KEPT)
        else:
            self._must_be_current()
        self._files.add_side_files(self.path)
        self._must_be_in_place()

    def _make_durable(self, *, full: bool) -> None:
        if self._full is not full:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._full = full

    def run(self, name: str, **values: Value) -> None:
        """Runs the statement of that name."""
        self._connection.execute(self._sql[name], values)

    def rows(self, name: str, **values: Value) -> list[Row]:
        """Returns all rows of the statement of that name."""
        try:
            return self._connection.execute(self._sql[name], values).fetchall()
        except apsw.ProtocolError:
            again = partial(self._connection.execute, self._sql[name], values)
            return retry_protocol_errors(lambda: again().fetchall(), self._busy_handler)

    def settings(self) -> dict[str, str]:
        """Returns the stored settings; bytes that are not UTF-8 are replaced."""
        rows = self.rows("config")
        return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in rows}

    def row(self, name: str, **values: Value) -> Row | None:
        """Returns the first row of the statement of that name; None if there is none."""
        try:
            return self._connection.execute(self._sql[name], values).fetchone()
        except apsw.ProtocolError:
            again = partial(self._connection.execute, self._sql[name], values)
            return retry_protocol_errors(lambda: again().fetchone(), self._busy_handler)

    def value(self, name: str, **values: Value) -> Any:  # noqa: ANN401 - the statement decides
        """Returns the first column of the first row; None if there is no row."""
        row = self.row(name, **values)
        return None if row is None else row[0]

    def run_each(self, name: str, values: Iterable[Values]) -> None:
        """Runs the statement of that name, which returns no rows, once for each of `values`."""
        self._connection.executemany(self._sql[name], values)

    def rows_each(self, name: str, values: Iterable[Values]) -> list[Row]:
        """Returns the rows of the statement of that name, run once for each of `values`.

        Must run inside a transaction, because it does not wait for locks.
        """
        return self._connection.executemany(self._sql[name], values).fetchall()

    def change(self, name: str, **values: Value) -> int:
        """Runs the statement of that name; returns how many rows it changed."""
        self.run(name, **values)
        return self._connection.changes()

    def version(self) -> int:
        """Returns a number that changes whenever another connection has committed."""
        self._must_be_in_place()
        return retry_protocol_errors(self._version, self._busy_handler)

    def _version(self) -> int:
        value: int = self._connection.execute("PRAGMA data_version").get
        if value != self._seen:
            self._must_be_current()
            self._seen = value
        return value

    def _must_be_current(self) -> None:
        """Raises DatabaseUnusableError if another program has changed the schema meanwhile."""
        found = self._connection.execute("PRAGMA user_version").get
        if found != self._schema:
            if (moved := schema.mark(self._connection)) is not None:
                raise moved.refusal(self.path)
            schema.must_be_known(found, self.path)
            msg = (
                f"{self.path} has schema {found} now, and this program works with {self._schema}; "
                "start it again, in the version that belongs to it"
            )
            raise DatabaseUnusableError(msg)

    def _must_be_in_place(self) -> None:
        """Raises DatabaseUnusableError if the path names another file than the open one.

        The connection is then closed without a checkpoint, because that would delete the WAL of
        the file that has the path now.
        """
        replaced = self._files.first_replaced()
        if replaced is not None:
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            msg = f"{replaced} was removed or replaced while it was open; put it back, or restart"
            raise DatabaseUnusableError(msg)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Runs BEGIN IMMEDIATE and COMMIT; rolls back on any error, also of the commit.

        Without `durable` the commit survives a crash of the service, but not always a power cut.
        """
        with self.named_errors():
            self._make_durable(full=durable)
            retry_protocol_errors(
                partial(self._connection.execute, "BEGIN IMMEDIATE"), self._busy_handler
            )
            with delayed_stops():
                try:
                    self._must_be_current()
                    yield
                    self._must_be_in_place()
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Runs several reads on one snapshot. Keep it short: until its end the WAL only grows."""
        with self.named_errors():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def named_errors(self) -> AbstractContextManager[None]:
        """Calls `error_names.named_errors` for this database."""
        return named_errors(self.path, self._connection)

    def make_interruptible(self) -> None:
        """Lets Python handle signals during a long statement, so that Ctrl+C ends it at once."""
        make_interruptible(self._connection)

    def close(self) -> None:
        """Closes the connection; safe to call twice."""
        self._connection.close()


def open_reading(path: str, access: Access) -> apsw.Connection:
    """Opens an existing database for reading. Raises StorageError if that could miss commits."""
    permissions.check_database(path, reading=True)
    must_have_one_name(path)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
    if access is Access.READ:
        return apsw.Connection(path, flags=flags)
    if wal_bytes(path):
        msg = f"cannot read {path}: its -wal has commits, and the directory cannot be written"
        raise StorageError(msg)
    from urllib.parse import quote

    uri = f"file:{quote(path)}?immutable=1"  # SQLite then takes no locks and opens no side files
    return apsw.Connection(uri, flags=flags | apsw.SQLITE_OPEN_URI)


def make_interruptible(connection: apsw.Connection) -> None:
    """Calls Python every few milliseconds of a statement; a handler that raises ends it."""
    connection.set_progress_handler(lambda: False, _STEPS_BETWEEN_SIGNALS)


def must_have_safe_sqlite() -> None:
    """Raises ConfigError if the SQLite library that is loaded can lose committed transactions."""
    loaded = apsw.sqlite_lib_version()
    if tuple(map(int, loaded.split("."))) < _SAFE_SQLITE:
        safe = ".".join(map(str, _SAFE_SQLITE))
        msg = (
            f"SQLite {loaded} can lose committed jobs (its WAL-reset bug); "
            f"install an apsw that has SQLite {safe} or newer"
        )
        raise ConfigError(msg)


def wal_bytes(path: str) -> int:
    """Returns the size of the write-ahead log of a database; 0 if there is none."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def close_untouched(connection: apsw.Connection, path: str) -> None:
    """Closes a database that was refused, without the checkpoint that would write to it."""
    if wal_bytes(path):
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def _make(path: str, *, create: bool) -> None:
    """Creates the file and its directory if they are missing; refuses those that others can write.

    This is the only place where the file is opened without SQLite, so that its mode does not depend
    on the umask. Closing the descriptor is harmless, because no lock is held yet. SQLite gives its
    side files the owner and the mode of the database.
    """
    permissions.check_database(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        _must_not_be_removed(path, create=create)
        permissions.make_directory(os.path.dirname(path))
        with suppress(FileExistsError):
            os.close(permissions.make_file(path, os.O_RDWR))
        return
    if not stat.S_ISREG(found.st_mode):
        msg = f"{path} is not a regular file; give the path of a database with --db"
        raise DatabaseUnusableError(msg)
    must_have_one_name(path)


def _must_not_be_removed(path: str, *, create: bool) -> None:
    """Raises DatabaseUnusableError if a database at `path` was removed.

    A new database would delete the WAL of the removed one, which may hold all of its commits.
    """
    if not create:
        msg = f"{path} was removed or replaced; put it back, or restart"
        raise DatabaseUnusableError(msg)
    with suppress(FileNotFoundError):
        if os.stat(f"{path}-wal").st_size > 0:
            msg = f"{path} is missing, but not its -wal; put it back, or move {path}-wal away"
            raise DatabaseUnusableError(msg)


def must_have_one_name(path: str) -> None:
    """Raises DatabaseUnusableError for a file with several hard links, or mounted by itself.

    SQLite names the WAL after the path, so that two names of one file have two WALs, and what is
    committed to one of them is lost.
    """
    links = os.stat(path).st_nlink
    if links > 1:
        msg = f"{path} has {links} names (hard links); keep one (see: find -samefile)"
        raise DatabaseUnusableError(msg)
    if _mount_of(path) != _mount_of(os.path.dirname(os.path.realpath(path))):
        msg = f"{path} is mounted by itself, without its -wal; mount its directory instead"
        raise DatabaseUnusableError(msg)


def _mount_of(path: str) -> bytes:
    """Returns what names the mount that the path is in; nothing where /proc does not tell it.

    Closing a descriptor of O_PATH does not drop the locks that this process has on the file.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
            return next((line for line in file if line.startswith(b"mnt_id:")), b"")
    except FileNotFoundError:
        return b""
    finally:
        os.close(descriptor)
