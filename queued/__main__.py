"""`queued`: loads the settings, prepares the database, and becomes the supervisor.

The database is opened and closed again here, before the first fork. A service that cannot start
prints one line and changes nothing.
"""

import errno
import json
import os
import signal
import socket
import sys
from typing import NamedTuple

from docopt import DocoptExit, docopt

from queued import __version__, preflight
from queued.core import ids, times
from queued.core import settings as rules
from queued.core.errors import Exit, QueuedError, StorageError, UsageError
from queued.core.model import Instance
from queued.core.schedules import file_schedules
from queued.core.serve_until import ServeUntil, serve_until
from queued.core.settings import Value
from queued.core.settings_in_force import Settings
from queued.daemonize import Started, detach, fill_standard_streams
from queued.service.dispatcher.live_settings import SettingsOrigin, refused_rows
from queued.service.instance import InstancePrograms
from queued.service.ipc.run_notes import RunNotes
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux import cgroup, run_mark
from queued.service.log_file import OLD
from queued.service.log_journal import to_journal
from queued.service.supervisor.reload import ReloadFile, reload
from queued.service.supervisor.sd_notify import SdNotify
from queued.service.supervisor.supervisor import Supervisor
from queued.store import instance_lock, paths, permissions
from queued.store.engine import Engine
from queued.store.system_errors import named_os_errors
from queued.usage_errors import explain

USAGE = """\
Runs the jobs of a database until a signal or `queuectl worker stop` stops it.

Usage:
  queued [--db WHERE] [--config PATH] [--workers N] [--labels LABELS]
         [--queues QUEUES] [--log-level LEVEL] [--log-format FORMAT]
         [--background] [--log-file PATH] [--drain] [--due-within T]
         [--max-jobs N] [--for T] [--strict]
  queued --check [--db WHERE] [--config PATH]
  queued --reload PID
  queued --help | --version

Options:
  --db WHERE           the database; created if it does not exist
  --config PATH        the conf file
  --workers N          how many jobs run at the same time
  --labels LABELS      labels that jobs may require: gpu,zone=a
  --queues QUEUES      the queues that it serves: a,b*,-c (default: all)
  --log-level LEVEL    debug, info, warning or error
  --log-format FORMAT  json, console, or auto: console on a terminal
  --background         detach from the terminal when the workers are ready
  --log-file PATH      the log file of a service with --background
  --drain              run all jobs that are due, then end; see below
  --due-within T       --drain also runs what becomes due within T of the start
                       (90s, 12h, or a time): delayed jobs and retries
  --max-jobs N         end after N runs
  --for T              end T after the start (seconds, or 90s, 1h30m): as after
                       TERM, running jobs have shutdown_grace to finish
  --strict             exit with 1 if one of the jobs has become dead
  --check              check the conf file, the database and their permissions;
                       changes nothing
  --reload PID         reload the conf file of a service under systemd, and
                       wait until its settings are in force
  -h, --help           show this text
  --version            show the version

Signals:
  TERM, INT            stop: running jobs finish, nothing new starts; a second
                       one, or the end of shutdown_grace, ends running jobs
  HUP                  read the conf file again and apply it; no job is
                       interrupted; a bad file is refused
  USR1                 log the running jobs and the number of waiting jobs
  TTIN, TTOU           one worker more, one fewer, until the next HUP
  CHLD                 internal: a child has exited

A service with --drain ends when it runs no job and none that it may claim is
due. Hooks of its jobs, retries that are due and jobs that are enqueued
meanwhile are run, too. It does not wait for a time in the future (a delay, the
backoff of a retry) without --due-within, nor for the next time of a schedule,
for jobs of other services, for jobs that require other
labels or are held, or for jobs of queues that are paused or full.
With several of --drain, --max-jobs and --for the first to come true counts.
The exit code is 0, whether or not jobs have failed; 1 if a job has become dead
and --strict is given, or if a signal or `queuectl worker stop` has ended a
service with --drain before.
"""

_START_PATIENCE_S = 60.0


class _Background(NamedTuple):
    """Of a service with --background: the pipe to the program that started it, and its log file."""

    ready_pipe: int | None = None
    log_path: str | None = None


def main() -> None:
    """Runs the program and exits with its exit code."""
    fill_standard_streams()
    try:
        code = _run(sys.argv[1:])
    except DocoptExit:
        usage = USAGE.partition("\n\n")[2]
        message = explain(usage, sys.argv[1:])
        _print_err(f"{message}\n(see: queued --help)")
        code = Exit.USAGE
    except QueuedError as error:
        _print_err(str(error))
        code = error.exit_code
    # The interpreter restores the default handlers before it ends; a signal would replace the code.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sys.exit(int(code))


def _print_err(text: str) -> None:
    """Prints an error, with its priority for the journal, so that `journalctl -p err` shows it."""
    priority = "<3>" if to_journal(2) else ""
    print(f"{priority}queued: {text}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    options = docopt(USAGE, arguments, version=f"queued {__version__}")
    for name in ("--db", "--config", "--log-file"):
        if options[name] == "":
            msg = f"{name} needs a path, not an empty text"
            raise UsageError(msg)
    paths.must_be_no_secret(options["--db"] or "")
    run_mark.leave_run()
    until = serve_until(options)
    environment = dict(os.environ)
    if options["--reload"]:
        reload(_pid(options["--reload"]), ReloadFile(environment))
        return Exit.DONE
    conf = paths.conf_path(options["--config"], environment)
    content = paths.read_whole_conf(conf)
    schedules = file_schedules(content.schedules, conf)
    origin = SettingsOrigin(
        _flags(options), environment, options["--config"], content.settings, schedules
    )
    engine = paths.engine_at(origin.database(), environment)
    engine.check_trust()
    preflight.check_kernel()
    if options["--check"]:
        return preflight.print_report(conf, engine, content.settings)
    log_path = _log_path(options, engine.instance_files) if options["--background"] else None
    settings = _start_settings(origin, _prepare(engine))
    background = _Background()
    if log_path is not None:
        detached = detach(_open_log(log_path))
        if isinstance(detached, Started):
            return _report(detached, settings.workers, log_path)
        background = _Background(detached.ready_pipe, log_path)
    return _serve(engine, origin, settings, until, background)


def _pid(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        msg = f"--reload takes the number of a process, not {text!r}"
        raise UsageError(msg)
    return int(text)


def _flags(options: dict[str, str | None]) -> dict[str, Value]:
    given = {
        "db": options["--db"],
        "workers": options["--workers"],
        "labels": options["--labels"],
        "queues": options["--queues"],
        "log_level": options["--log-level"],
        "log_format": options["--log-format"],
    }
    flags = {}
    for key, text in given.items():
        if text is not None:
            try:
                flags[key] = rules.parse(key, text)
            except UsageError as error:
                msg = f"--{key.replace('_', '-')}: {error}"
                raise UsageError(msg) from None
    return flags


def _prepare(engine: Engine) -> dict[str, str]:
    """Creates or upgrades the database; returns the stored settings."""
    prepared = engine.prepare(
        _START_PATIENCE_S, lambda error: _print_err(f"{error}. The service tries for a minute")
    )
    if kept := prepared.backup_path:
        print(f"queued: the database was upgraded; the old one is {kept}", file=sys.stderr)
    return prepared.settings


def _start_settings(origin: SettingsOrigin, stored: dict[str, str]) -> Settings:
    """Returns the settings; stored rows that are not valid are reported and ignored.

    A restarted dispatcher treats them in the same way, and they can be corrected while the service
    runs. Raises ConfigError if a flag, a variable or the conf file is not valid.
    """
    refused = refused_rows(stored)
    for key, error in refused.items():
        _print_err(f"config set: {error}; ignored. To correct it: queuectl config unset {key}")
    return origin.resolve({key: text for key, text in stored.items() if key not in refused})


def _log_path(options: dict[str, str | None], instance_files: str) -> str:
    """Returns the log file of --background. Raises UsageError, DeniedError.

    By default it is in a directory of its own: writes beside the database wake the dispatcher. It
    must not be a file of the queue, nor take the name of one when it is full.
    """
    directory, name = os.path.split(instance_files)
    own = os.path.join(directory, "log", f"{name}.log")
    named = options["--log-file"] or own
    if not os.path.isabs(named):
        named = os.path.join(paths.current_directory(), named)
    permissions.must_be_own(named)  # root must not write where a link of another user leads
    log_path = os.path.realpath(named)
    files = [instance_files + end for end in ("", "-wal", "-shm", "-journal")]
    for path in (log_path, log_path + OLD):
        if path in files or instance_lock.database_of(path) == instance_files:
            msg = f"--log-file {log_path}: {path} belongs to the database; choose another name"
            raise UsageError(msg)
    return log_path


def _report(started: Started, workers: int, log_path: str) -> int:
    """Prints the result of a start with --background; returns the exit code."""
    if started.ready:
        noun = "worker is" if workers == 1 else "workers are"
        print(f"{workers} {noun} ready; the log is {log_path}")
        return Exit.DONE
    if started.exit_code == 0:
        print(f"queued: stopped before it was ready; the log is {log_path}", file=sys.stderr)
        return Exit.NO
    print(f"queued: the service did not start; the log is {log_path}", file=sys.stderr)
    return started.exit_code


def _open_log(path: str) -> int:
    """Opens the log file of --background for appending. Raises QueuedError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    with named_os_errors(path):
        permissions.make_directory(os.path.dirname(path))
        try:
            return permissions.make_file(path, flags)
        except FileExistsError:
            return os.open(path, flags | os.O_CLOEXEC)


def _serve(
    engine: Engine,
    origin: SettingsOrigin,
    settings: Settings,
    until: ServeUntil,
    background: _Background,
) -> int:
    instance = _new_instance(engine, origin, settings)
    lock_path = instance_lock.path_of(engine.instance_files, instance.id)
    lock = instance_lock.create_locked(lock_path)  # never closed, so that children inherit it
    supervisor = None
    try:
        scoreboard = Scoreboard(RunNotes(lock))
        programs = InstancePrograms(
            instance=instance,
            lock=lock,
            engine=engine,
            origin=origin,
            settings=settings,
            scoreboard=scoreboard,
            cgroups=cgroup.delegated(instance.id),
            until=until,
            runs_lock=instance_lock.hold_for_runs(lock),
            log_path=background.log_path,
        )
        notify = SdNotify(background.ready_pipe)
        supervisor = Supervisor(programs=programs, scoreboard=scoreboard, notify=notify)
        return supervisor.run()
    except OSError as error:
        if supervisor is not None and error.errno != errno.EMFILE:
            raise
        msg = (
            f"the system refuses what a service needs: {error.strerror}; "
            "raise the limits of the service"
        )
        raise StorageError(msg) from error
    finally:
        # After a service that was ready, the dispatcher removes it once all is recorded: until
        # then a rescue needs the run notes in it.
        if supervisor is None or not supervisor.served:
            instance_lock.remove(lock_path)


def _new_instance(engine: Engine, origin: SettingsOrigin, settings: Settings) -> Instance:
    (name,) = ids.make(1)
    return Instance(
        id=name,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        started_ms=times.now_ms(),
        stop_requested_ms=None,
        overrides=json.dumps(origin.overrides()),
        host_id=instance_lock.scope(engine.instance_files) if engine.spans_hosts else "",
        lease_s=settings.lease if engine.spans_hosts else 0.0,
    )


if __name__ == "__main__":
    main()
