"""A program that opens a read transaction on a database and keeps it open.

It must be a process of its own, because a second connection in the process of a test would drop
that process's POSIX locks. It prints a line once it reads, and ends with its standard input.
"""

FORGETS = """
import sqlite3, sys
shell = sqlite3.connect(sys.argv[1], isolation_level=None)
shell.execute("BEGIN")
shell.execute("SELECT count(*) FROM jobs").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""
