"""What is found on a disk: in which state the next who opens the files has the database."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from queued.store.sqlite.client_store import SqliteStore
from tests.crash.faulty_vfs import installed


def rows_of(connection: apsw.Connection) -> str:
    """All that is stored, as a short text that is different if anything is."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    ).fetchall()
    stored = hashlib.sha256()
    for (name,) in tables:
        rows = connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()  # noqa: S608
        stored.update(repr((name, rows)).encode())
    return stored.hexdigest()


@contextmanager
def laid(directory: Path, left: dict[str, bytes]) -> Iterator[None]:
    """The files are there; afterwards the directory is gone."""
    directory.mkdir(mode=0o700)
    try:
        for name, content in left.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o600)
        with installed() as disk:
            disk.careless = True
            yield
    finally:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


def find(directory: Path, left: dict[str, bytes]) -> str:
    """The state in which the next who opens these files finds the database."""
    with laid(directory, left):
        return look(str(directory / "queue.db"))


def look(path: str) -> str:
    """The rows, or what is wrong."""
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
