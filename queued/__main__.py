"""`queued`: loads the settings, prepares the database, and becomes the supervisor.

The database is opened and closed again here, before anything is forked; a service that cannot
start says so in one line and changes nothing.
"""

import os
import socket
import sys

from docopt import DocoptExit, docopt

from queued import __version__
from queued.core import settings as rules
from queued.core import times
from queued.core.errors import Exit, QueuedError, UsageError
from queued.core.ids import IdSource
from queued.core.model import Instance
from queued.core.settings import Settings, Value
from queued.service.board import Board
from queued.service.detach import Started, detach
from queued.service.log import Log, open_log
from queued.service.notify import Notify
from queued.service.supervisor import Supervisor
from queued.service.worker import Worker
from queued.store import lock, places
from queued.store.connection import Patience
from queued.store.sqlite import SqliteStore

USAGE = """\
Runs the jobs of a queue until it is told to stop.

Usage:
  queued [--db PATH] [--config PATH] [--workers N] [--log-level LEVEL]
         [--log-format FORMAT] [--background] [--log-file PATH]
  queued --help | --version

Options:
  --db PATH            the database; made if it is not there
  --config PATH        the conf file
  --workers N          how many jobs run at the same time
  --log-level LEVEL    debug, info, warning or error
  --log-format FORMAT  json, console, or auto: console on a terminal
  --background         leave the terminal once the workers are ready
  --log-file PATH      where --background writes its log
  -h, --help           show this text
  --version            show the version

Signals:
  TERM, INT            drain: running jobs finish, nothing new starts; a second
                       one, or the end of shutdown_grace, ends running jobs
"""

_START_PATIENCE_S = 60.0


def main() -> None:
    """The program; ends the process with its exit code."""
    try:
        code = _serve(sys.argv[1:])
    except DocoptExit as error:
        print(f"queued: {str(error).splitlines()[0]}\n(see: queued --help)", file=sys.stderr)
        code = Exit.USAGE
    except QueuedError as error:
        print(f"queued: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(int(code))


def _serve(arguments: list[str]) -> int:
    options = docopt(USAGE, arguments, version=f"queued {__version__}")
    flags = _flags(options)
    environment = dict(os.environ)
    conf = places.conf_path(options["--config"], environment)
    file = places.read_conf(conf)
    sources = rules.resolve(flags=flags, environment=environment, stored={}, file=file)
    if flags.get("db_path") is None and environment.get("QUEUECTL_DB"):
        sources["db_path"] = rules.Source(environment["QUEUECTL_DB"], "environment")
    path = places.database_path(sources["db_path"].value, environment)
    stored = _prepare(path)
    settings = rules.settings_of(
        rules.resolve(flags=flags, environment=environment, stored=stored, file=file)
    )
    ready_pipe = None
    if options["--background"]:
        log_path = options["--log-file"] or _log_path(path)
        detached = detach(os.path.abspath(log_path))
        if isinstance(detached, Started):
            return _report(detached.exit_code, settings.workers, log_path)
        ready_pipe = detached.ready_pipe
    return _run(path, settings, flags, environment, file, ready_pipe)


def _flags(options: dict[str, str | None]) -> dict[str, Value]:
    given = {
        "db_path": options["--db"],
        "workers": options["--workers"],
        "log_level": options["--log-level"],
        "log_format": options["--log-format"],
    }
    flags = {}
    for key, text in given.items():
        if text is not None:
            try:
                flags[key] = rules.parse(key, text)
            except UsageError as error:
                msg = f"--{key.removesuffix('_path').replace('_', '-')}: {error}"
                raise UsageError(msg) from None
    return flags


def _prepare(path: str) -> dict[str, str]:
    """Makes or upgrades the database, and reads the stored settings."""
    store = SqliteStore(path, Patience(_START_PATIENCE_S))
    try:
        return store.config()
    finally:
        store.close()


def _log_path(database: str) -> str:
    """In a directory of its own: whatever is written beside the database wakes the dispatcher."""
    directory, name = os.path.split(database)
    return os.path.join(directory, "log", f"{name}.log")


def _report(code: int, workers: int, log_path: str) -> int:
    if code == 0:
        noun = "worker is" if workers == 1 else "workers are"
        print(f"{workers} {noun} ready; the log is {log_path}")
    else:
        print(f"queued: the service did not start; the log is {log_path}", file=sys.stderr)
    return code


def _run(
    path: str,
    settings: Settings,
    flags: dict[str, Value],
    environment: dict[str, str],
    file: dict[str, object],
    ready_pipe: int | None,
) -> int:
    name = IdSource().make(times.now_ms())
    lock_path = lock.path_of(path, name)
    instance = Instance(
        id=name,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        started_ms=times.now_ms(),
        stop_requested_ms=None,
        lock_path=lock_path,
    )
    board = Board()

    def log(role: str, **bound: object) -> Log:
        style, level = settings.log_format, settings.log_level
        return open_log(level=level, style=style, instance=name, role=role, **bound)

    def run_dispatcher(supervisor: socket.socket, listener: socket.socket) -> int:
        from queued.service.dispatcher import Dispatcher
        from queued.service.tuning import Sources

        return Dispatcher(
            database=path,
            instance=instance,
            sources=Sources(flags, environment, file),
            supervisor=supervisor,
            listener=listener,
            log=log("dispatcher"),
        ).run()

    def run_worker(number: int, address: bytes, lifeline: int) -> int:
        return Worker(
            number=number,
            instance=name,
            address=address,
            lifeline=lifeline,
            board=board,
            log=log("worker", worker=number),
        ).run()

    supervisor = Supervisor(
        settings=settings,
        run_dispatcher=run_dispatcher,
        run_worker=run_worker,
        board=board,
        notify=Notify(ready_pipe),
        log=log("supervisor"),
    )
    lock.hold(lock_path, 0o600)  # never closed: children inherit it, and the kernel frees it
    try:
        return supervisor.run()
    finally:
        lock.remove(lock_path)


if __name__ == "__main__":
    main()
