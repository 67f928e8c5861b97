"""SQL on a queue's database by another SQLite in another process, as the sqlite3 shell does."""

from tests.service import Queue, run_python

_PROGRAM = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=20)
print(*database.execute(sys.argv[2], sys.argv[3:]))
database.commit()
"""


def sql(queue: Queue, statement: str, *values: str) -> str:
    """Runs a statement; returns its rows as text."""
    return run_python("-c", _PROGRAM, queue.path, statement, *values, check=True).stdout
