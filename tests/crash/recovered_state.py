"""The state in which SQLite recovers a database from the files that a power cut left."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from queued.store.sqlite.client_store import SqliteStore
from tests.crash.faulty_vfs import installed


def rows_of(connection: apsw.Connection) -> str:
    """Returns a digest of all rows of all tables."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    ).fetchall()
    stored = hashlib.sha256()
    for (name,) in tables:
        rows = connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()  # noqa: S608
        stored.update(repr((name, rows)).encode())
    return stored.hexdigest()


@contextmanager
def files_in_place(directory: Path, left: dict[str, bytes]) -> Iterator[None]:
    """Makes a directory with these files; deletes it at the end."""
    directory.mkdir(mode=0o700)
    try:
        for name, content in left.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o600)
        with installed() as disk:
            disk.skips_syncs = True
            yield
    finally:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


def recover(directory: Path, left: dict[str, bytes]) -> str:
    """Opens the database of these files; returns what `read_state` does."""
    with files_in_place(directory, left):
        return read_state(str(directory / "queue.db"))


def read_state(path: str) -> str:
    """Returns the digest of the rows, or what is wrong with the database."""
    try:
        store = SqliteStore(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return f"not opened: {error!r}"
    connection = store._database._connection
    try:
        damage = connection.execute("PRAGMA integrity_check").get
        dangling = connection.execute("PRAGMA foreign_key_check").fetchall()
        return rows_of(connection) if damage == "ok" and not dangling else f"{damage} {dangling}"
    except apsw.CorruptError as error:
        return f"damaged: {error}"
    finally:
        store.close()
