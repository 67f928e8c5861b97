"""`queued --check`: whether a service could start, without changing anything."""

import os

from queued.core.errors import Exit
from queued.store.sqlite.maintenance import probe


def report(conf: str | None, database: str) -> int:
    """Says what was found good. What is not raises QueuedError, as it would at a start.

    The conf file was read and the permissions were looked at before.
    """
    print(f"conf      {conf}: good" if conf else "conf      none: the defaults are in force")
    if os.path.exists(database):
        version = probe.schema_version(database)
        print(f"database  {database}: good, schema {version}")
    else:
        probe.check_directory(os.path.dirname(database))
        print(f"database  {database}: not there yet, made at the start")
    return Exit.DONE
