"""`queued --check`: checks whether a service could start, without changing anything."""

import os

from queued.core.errors import Exit
from queued.store.sqlite.maintenance import probe


def report(conf: str | None, database: str) -> int:
    """Checks the database and prints the results; returns the exit code.

    The caller has read the conf file and checked the permissions. Raises the QueuedError that a
    start would end with.
    """
    print(f"conf      {conf}: good" if conf else "conf      none; the defaults are in force")
    if os.path.exists(database):
        version = probe.schema_version(database)
        print(f"database  {database}: good, schema {version}")
    else:
        probe.check_directory(os.path.dirname(database))
        print(f"database  {database}: does not exist yet; it is created at the start")
    return Exit.DONE
