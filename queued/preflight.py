"""`queued --check`: checks whether a service could start, without changing anything."""

import os
import sys
from collections.abc import Mapping

from queued.core import times
from queued.core.errors import ConfigError, Exit, StorageError
from queued.core.settings import Value
from queued.service.linux.required_calls import refused_calls
from queued.store.engine import Engine


def check_kernel() -> None:
    """Raises ConfigError if the kernel, a seccomp filter or /proc lacks what a service needs."""
    try:
        times.boot_id()
    except OSError as error:
        msg = (
            f"cannot read {error.filename}: {error.strerror}; a service needs a whole /proc, "
            "without ProcSubset=pid and the mount option subset=pid"
        )
        raise ConfigError(msg) from error
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


def print_report(conf: str | None, engine: Engine, settings: Mapping[str, Value]) -> int:
    """Checks the database and prints the results; returns the exit code.

    On standard error it warns of `settings` of the conf file that are valid, but cannot work here.

    The caller has read the conf file and checked the permissions. Raises the QueuedError that a
    start would end with.
    """
    print(f"conf      {conf}: good" if conf else "conf      none; the defaults are in force")
    print(f"database  {engine.name}: {engine.describe()}")
    for hook in ("on_dead", "on_completed"):
        program = str(settings.get(hook, "")).partition(" ")[0]
        if program.startswith("/") and not os.access(program, os.X_OK):
            print(f"queued: warning: {hook}: {program} cannot be run here", file=sys.stderr)
    return Exit.DONE
