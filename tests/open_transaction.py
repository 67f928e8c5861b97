"""A transaction that somebody opened on a database, read in, and left: a program for it.

It must be a process of its own: POSIX locks are a process's, and another connection in it would
drop them. It says so once it reads, and ends with its standard input.
"""

FORGETS = """
import sqlite3, sys
shell = sqlite3.connect(sys.argv[1], isolation_level=None)
shell.execute("BEGIN")
shell.execute("SELECT count(*) FROM jobs").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""
