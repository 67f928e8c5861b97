"""`queued --check`: checks whether a service could start, without changing anything."""

import os

from queued.core.errors import ConfigError, Exit, StorageError
from queued.service.linux.required_calls import refused_calls
from queued.store.sqlite.maintenance import probe


def check_kernel() -> None:
    """Raises ConfigError if the kernel or a seccomp filter refuses what a service needs."""
    try:
        refused = refused_calls()
    except OSError as error:
        msg = (
            f"the system refuses what a service needs: {error.strerror}; "
            "raise the limits of the service"
        )
        raise StorageError(msg) from error
    if refused:
        msg = (
            f"the kernel or a seccomp filter refuses {', '.join(refused)}; a service needs Linux "
            "5.3 or newer, and a SystemCallFilter= or container profile that allows these calls"
        )
        raise ConfigError(msg)


def print_report(conf: str | None, database: str) -> int:
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
