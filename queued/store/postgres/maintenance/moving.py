"""Moves a queue out of a schema in PostgreSQL, or into a new or empty one; see `queue_copy`."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from queued.core.errors import ConflictError
from queued.core.model import Instance
from queued.store import queue_copy
from queued.store.move_mark import MoveMark
from queued.store.postgres import schema, upgrade
from queued.store.postgres.address import parse
from queued.store.postgres.connection import OWNER, Database
from queued.store.postgres.maintenance.queue_tables import PostgresTables, must_see_all
from queued.store.queue_copy import CopiedTable, QueueTables


class PostgresPlace:
    """A `MovablePlace`: the URL of a queue. `is_alive` tells whether an instance lives."""

    def __init__(self, url: str, is_alive: Callable[[Instance], bool]) -> None:
        self.place = parse(url).place
        self._url = url
        self._is_alive = is_alive

    def _opened(self, *, checked: bool) -> "closing[Database]":
        return closing(Database(self._url, application="queuectl", serving=False, checked=checked))

    def mark(self) -> MoveMark | None:
        """See `MovablePlace.mark`."""
        with self._opened(checked=False) as database, database.reading():
            return database.mark()

    @contextmanager
    def held(self) -> Iterator[QueueTables]:
        """See `MovablePlace.held`."""
        with self._opened(checked=True) as database, database.transaction(OWNER, begin="long"):
            self._hold(database)
            yield PostgresTables(database)

    def _hold(self, database: Database) -> None:
        """Keeps all other programs from writing, and checks that no service and no job runs."""
        database.script_named("hold_queue")
        database.must_fit()  # once more: another move may have ended meanwhile
        schema.must_be_known(database.schema(), self.place)
        found = [Instance(*row) for row in database.rows("instances")]
        living = [instance.id for instance in found if self._is_alive(instance)]
        queue_copy.must_be_idle(self.place, living, database.rows("counts"))

    @contextmanager
    def snapshot(self) -> Iterator[QueueTables]:
        """The queue as it is at one moment, while other programs go on."""
        with self._opened(checked=True) as database:
            must_see_all(database)
            with database.reading("long_snapshot"):
                schema.must_be_known(database.schema(), self.place)
                yield PostgresTables(database)

    def receive(self, source: QueueTables, mark: MoveMark) -> dict[str, CopiedTable]:
        """See `MovablePlace.receive`."""
        with self._opened(checked=False) as database, database.transaction(OWNER, begin="long"):
            if mark.same(database.mark()):
                database.script_named("discard_copy")
                database.run("schema_set", schema=schema.latest(), works_from=schema.WORKS_FROM)
            upgrade.upgrade(database)
            self._hold(database)
            if database.value("is_used"):
                msg = f"{self.place} has jobs or settings; give an empty one, or a new ?schema=NAME"
                raise ConflictError(msg)
            tables = PostgresTables(database)
            copied = queue_copy.copy(source, tables)
            tables.close(mark)
        return copied

    def open(self) -> None:
        """See `MovablePlace.open`."""
        with self._opened(checked=False) as database, database.transaction(OWNER):
            database.script_named("remove_mark")
            database.run("schema_set", schema=schema.latest(), works_from=schema.WORKS_FROM)
