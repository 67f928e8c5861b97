"""SQL on a queue's database by another program, as a shell of the database does."""

import psycopg

from queued.store.paths import is_url
from queued.store.postgres import address
from tests.service import Queue, run_python

_PROGRAM = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=20)
print(*database.execute(sys.argv[2], sys.argv[3:]))
database.commit()
"""


def sql(queue: Queue, statement: str, *values: str) -> str:
    """Runs a statement; returns its rows as text."""
    if is_url(queue.path):
        return _over_postgres(queue.path, statement.replace("?", "%s"), values)
    return run_python("-c", _PROGRAM, queue.path, statement, *values, check=True).stdout


def _over_postgres(url: str, statement: str, values: tuple[str, ...]) -> str:
    where = address.parse(url)
    options = f"-c search_path={where.schema}"
    with psycopg.connect(where.conninfo, options=options) as connection:
        done = connection.execute(statement.encode(), values)
        return " ".join(map(str, done.fetchall() if done.description else [])) + "\n"
