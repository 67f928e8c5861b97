"""Connects to PostgreSQL with bounded waits; runs named statements and transactions on it.

One connection, which is made again at the beginning of a transaction if it was lost. All that a
transaction needs is set in the transaction, so that a pooler may share the connection.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from queued.core.errors import CommitUnknownError, StorageError
from queued.core.times import boot_ms
from queued.store.move_mark import CLOSED, MoveMark
from queued.store.postgres import schema, sql_loader
from queued.store.postgres.address import Address, parse
from queued.store.postgres.bounded_connection import BoundedConnection
from queued.store.postgres.error_names import ConflictingLocksError, named_errors
from queued.store.postgres.server import Server

Value = int | float | str | list[int] | list[str] | list[bytes] | None
Row = tuple[Any, ...]  # of the types that its statement selects
T = TypeVar("T")

_CONNECT_S = 5
_SERVING_S = 20.0  # the longest wait of a service for an answer
OWNER = "owner"  # the user that made the tables, which needs no role
_FETCHED = 50  # rows of a stream at a time: 3 MiB of output
_TRIES = 5  # of a transaction that conflicts with other transactions


class Database:
    """An open database: the connection, its named statements, and transactions.

    For a service (`serving`) statements are prepared, and each wait for an answer is bounded. The
    statements of others are not prepared, so that a pooler can run each transaction anywhere. Their
    waits are bounded by `limit_s` (None: no limit). `checked` calls `must_fit`. Raises QueuedError.
    """

    def __init__(  # noqa: PLR0913 - how a program uses it, by name
        self,
        url: str,
        *,
        application: str,
        serving: bool,
        limit_s: float | None = None,
        on_wait: Callable[[float], None] | None = None,
        checked: bool = True,
    ) -> None:
        self.address: Address = parse(url)
        self._application = application
        self._serving = serving
        self._limit_s = _SERVING_S if serving else limit_s
        self._on_wait = on_wait
        self._inside = False  # of a transaction
        self.is_pooled = False  # whether a pooler is between this program and the server
        self._user = ""
        self._role = "service" if serving else "reader"  # that statements need by default
        self._server = Server()
        self.connections = 0  # that were made so far
        self._on_notification: Callable[[], None] | None = None
        self._on_connected: Callable[[int], None] | None = None
        self._sql = sql_loader.load(self.address.schema)
        with self.named_errors():
            self._connection = self._connect()
            try:
                if checked:
                    with self.reading():
                        self.must_fit()
            except BaseException:
                self.close()
                raise

    def schema(self) -> int:
        """Returns the number of the schema; 0 if there is none."""
        return int(self._versions()[0])

    def _versions(self) -> Row:
        """Returns the number of the schema, and the oldest one whose programs can use it."""
        return (self.row("schema") if self.value("has_schema") else None) or (0, 0)

    def mark(self) -> MoveMark | None:
        """Returns the mark of a queue that was moved, or whose move is not finished; else None."""
        return MoveMark(*self.rows("mark")[0]) if self.schema() == CLOSED else None

    def must_fit(self) -> None:
        """Raises NotFoundError or DatabaseUnusableError if this program cannot use the queue."""
        version, works_from = self._versions()
        if version == CLOSED and (mark := self.mark()) is not None:
            raise mark.refusal(self.address.place)
        schema.must_fit(version, works_from, self.address.shown)

    def _connect(self) -> BoundedConnection:
        connection = BoundedConnection.connect(
            self.address.conninfo,
            autocommit=True,
            prepare_threshold=0 if self._serving else None,
            connect_timeout=_CONNECT_S,
            application_name=self._application,
            client_encoding="UTF8",
            keepalives_idle=5,  # a server that is gone is noticed after 11 s
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )
        self._user = connection.info.user
        connection.limit_s = self._limit_s
        connection.on_wait = self._on_wait
        # Integers are always of one type, alone and, as text, in lists. Otherwise their size would
        # decide, and a statement that was prepared for small ones would refuse a large one.
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        try:
            server = self._server.read(connection, self._sql["server"])
            if self._serving and not server.history:
                raise psycopg.errors.ReadOnlySqlTransaction  # noqa: TRY301 - after it is closed
            if self._on_notification is not None:
                self._start_listening(connection)
        except BaseException:
            connection.close()
            raise
        self._server = server
        self.is_pooled = server.process != connection.info.backend_pid
        self.connections += 1
        return connection

    # Notifications

    def listen(
        self, on_notification: Callable[[], None], on_connected: Callable[[int], None]
    ) -> None:
        """Calls `on_notification` for each notification that arrives with any answer.

        Calls `on_connected` with the descriptor of this connection, and of each later one.
        """
        self._on_notification, self._on_connected = on_notification, on_connected
        with self.named_errors():
            self._start_listening(self._connection)

    def _start_listening(self, connection: BoundedConnection) -> None:
        connection.add_notify_handler(lambda _: self.look_again())
        channel = sql_loader.in_schema("queued.changes", self.address.schema).replace('"', '""')
        connection.execute(f'LISTEN "{channel}"; {self._sql["session"]}'.encode(), prepare=False)
        if self._on_connected is not None:
            self._on_connected(connection.fileno())

    def notify(self, name: str) -> None:
        """Runs a statement that notifies services of a commit.

        An error is not raised, because the commit was made: services find it at the next renewal of
        their leases.
        """
        try:
            self.script_named(name)
        except psycopg.Error:
            self._connection.close()

    def look_again(self) -> None:
        """Acts as if a notification had arrived."""
        if self._on_notification is not None:
            self._on_notification()

    def receive(self) -> None:
        """Reads the notifications that have arrived; notices a lost connection."""
        if self._connection.closed:
            return
        try:
            self._connection.pgconn.consume_input()
            while self._connection.pgconn.notifies() is not None:
                self.look_again()
        except psycopg.Error:
            self._connection.close()
            self.look_again()  # the next transaction connects again, and says why it cannot

    def read_server(self) -> None:
        """Reads the clock and the history of the server."""
        self._server = self._server.read(self._connection, self._sql["server"])

    def now_ms(self) -> int:
        """Returns the server's wall clock as read last; verbs use their own if it is earlier."""
        return boot_ms() + self._server.ahead_ms

    # Statements

    def _execute(self, name: str, values: dict[str, Value]) -> psycopg.Cursor[Row]:
        return self._connection.execute(self._sql[name], values, binary=True)

    def run(self, name: str, **values: Value) -> None:
        """Runs the statement of that name."""
        self._execute(name, values)

    def rows(self, name: str, **values: Value) -> list[Row]:
        """Returns all rows of the statement of that name."""
        return self._execute(name, values).fetchall()

    def row(self, name: str, **values: Value) -> Row | None:
        """Returns the first row of the statement of that name; None if there is none."""
        return self._execute(name, values).fetchone()

    def row_alone(self, name: str, **values: Value) -> Row | None:
        """Runs a statement as a transaction of its own; its row begins as that of `server`."""
        with self.named_errors():
            before_ms = boot_ms()
            if (row := self.row(name, **values)) is not None:
                self._server = self._server.measured(before_ms, *row[:2])
            return row

    def value(self, name: str, **values: Value) -> Any:  # noqa: ANN401 - the statement decides
        """Returns the first column of the first row; None if there is no row."""
        return (self.row(name, **values) or (None,))[0]

    def change(self, name: str, **values: Value) -> int:
        """Runs the statement of that name; returns how many rows it changed."""
        return self._execute(name, values).rowcount

    def script(self, text: str) -> None:
        """Runs statements of a migration."""
        self._connection.execute(text.encode(), prepare=False)

    def script_named(self, name: str) -> None:
        """Runs the statements of that name, which take no values."""
        self.script(self._sql[name])

    def stream(self, query: str) -> Iterator[Row]:
        """Yields rows that the server keeps until they are fetched, within a transaction."""
        with self._connection.cursor("stream") as cursor:
            cursor.itersize = _FETCHED
            yield from cursor.execute(query.encode(), binary=True)

    def copy_in(self, statement: str, rows: Iterable[Row]) -> None:
        """Sends the rows of a COPY FROM STDIN."""
        with self._connection.cursor().copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def transaction(self, role: str = "", *, begin: str = "begin") -> Iterator[None]:
        """Runs BEGIN and COMMIT; rolls back on any error. A commit survives a crash of the server.

        `role` is the role that the user needs for it; see roles.sql. Raises CommitUnknownError if
        the connection was lost during the commit.
        """
        with self._begun(begin, role):
            yield
            self._commit()

    @contextmanager
    def reading(self, begin: str = "snapshot") -> Iterator[None]:
        """Runs several reads on one snapshot. Keep it short: until its end no row is vacuumed."""
        with self._begun(begin):
            yield
            self._connection.execute("ROLLBACK", prepare=False)

    def repeated(self, work: Callable[[], T], role: str) -> T:
        """Runs `work` in a transaction and returns its result; repeats both after a conflict.

        Raises ConflictingLocksError if each of 5 tries conflicts with other transactions.
        """
        for _ in range(_TRIES - 1):
            with suppress(ConflictingLocksError), self.transaction(role):
                return work()
        with self.transaction(role):
            return work()

    @contextmanager
    def _begun(self, begin: str, role: str = "") -> Iterator[None]:
        with self.named_errors(role):
            self._reopen()
            self.script_named(begin)
            self._inside = True
            try:
                yield
            except BaseException as error:
                with suppress(psycopg.Error):
                    self._connection.execute("ROLLBACK", prepare=False)
                if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                    self._connection.close()  # the server is a standby; another one is the primary
                raise
            finally:
                self._inside = False

    def _reopen(self) -> None:
        """Connects again if the connection was lost, but never in the middle of a transaction.

        The server may still hold the locks of the lost transaction, or make its commit later than
        the first read of the new connection, so the process of the lost one is ended before that.
        On another server its number is that of another process.
        """
        if not self._connection.closed or self._inside:
            return
        before, connection = self._server, self._connect()
        try:
            if self._server.history == before.history:
                self._end(before.process, connection)
        except BaseException:
            self._server = self._server._replace(process=before.process)
            connection.close()
            raise
        self._connection = connection

    def _end(self, lost: int, connection: BoundedConnection) -> None:
        """Ends the process of a lost connection. Raises OperationalError if it does not end."""
        values = {"pid": lost, "application": self._application}
        if connection.execute(self._sql["end_lost"], values).fetchone() != (True,):
            msg = "the lost connection did not end"
            raise psycopg.OperationalError(msg)

    def _commit(self) -> None:
        warnings: list[str | None] = []
        with self._connection.noting(warnings):
            try:
                done = self._connection.execute("COMMIT", prepare=False).statusmessage
            except psycopg.Error as error:
                if self._connection.closed:
                    msg = f"{self.address.shown}: the connection was lost during a commit"
                    raise CommitUnknownError(msg) from error
                raise
        if warnings:  # the wait for a synchronous standby was cancelled
            msg = (
                f"{self.address.shown}: a commit is not confirmed, so that it may be lost if the "
                f"server fails ({warnings[0]})"
            )
            raise CommitUnknownError(msg)
        if done != "COMMIT":
            msg = f"{self.address.shown}: the transaction was undone by the server"
            raise StorageError(msg)

    def version(self) -> int:
        """Returns a number that changes whenever another connection has committed.

        It stands for all commits on the whole server that are visible now, because PostgreSQL does
        not count those to one schema.
        """
        with self.named_errors():
            self._reopen()
            return int(self.value("version"))

    @contextmanager
    def named_errors(self, role: str = "") -> Iterator[None]:
        """Raises errors of psycopg as a QueuedError, which names this database and the role."""
        named = f"{self.address.schema}_{role or self._role}"
        remedy = f"it needs the role {named}; an administrator can: GRANT {named} TO {self._user}"
        with named_errors(self.address.shown, "its owner can do that" if role == OWNER else remedy):
            yield

    def close(self) -> None:
        """Closes the connection; safe to call twice."""
        self._connection.close()
