"""The commands db check, backup, restore, move, vacuum, stats and upgrade."""

import os

from queued.core.errors import Exit, UsageError
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import escaped, format_bytes, print_err, print_json, print_out

CHECK = (
    """\
Usage: queuectl db check [options]

Checks the schema of the database, the counters of jobs, that each running job
belongs to a service, and the pages of an SQLite file. Services and queuectl can
use the database meanwhile.

Options:
  --full               also check references, and all indexes of an SQLite file
                       (slower)
"""
    + COMMON
    + """
Exit code 1: the check found a problem.

Examples:
  queuectl db check
  queuectl db check --full
"""
)


def check(context: Context, arguments: Arguments) -> int:
    """Prints each problem on a line of its own."""
    full = arguments.flag("--full")
    report = context.maintenance().check(full=full)
    good = not report.problems
    if context.json:
        print_json({"good": good, "full": full, "problems": report.problems, "notes": report.notes})
    elif good:
        print_out("ok" if full else "ok (quick check; --full checks more)")
    else:
        print_out("\n".join(escaped(problem) for problem in report.problems))
        print_err("queuectl: the database is damaged; copy it, then see: queuectl help db restore")
    if not context.json:
        for note in report.notes:
            print_err(escaped(note))
    return Exit.DONE if good else Exit.NO


BACKUP = (
    """\
Usage: queuectl db backup [options] [--] FILE

Writes a copy of the database as it is at one moment; services go on meanwhile.
FILE is created when the copy is complete, checked and on the disk. `queuectl db
restore` restores it. It is an SQLite file for a database in PostgreSQL, too.

Options:
  --force              replace FILE if it exists and no program uses it
"""
    + COMMON
    + """
Exit code 4: FILE exists.

Examples:
  queuectl db backup /srv/backup/q.db
  queuectl db backup --force q.db
"""
)


def backup(context: Context, arguments: Arguments) -> int:
    """Writes a copy. Raises ConflictError if the file exists."""
    target = _file_path(arguments)
    count = context.maintenance().backup(target, replace=arguments.flag("--force"))
    if context.json:
        print_json({"backup": target, "bytes": count})
    else:
        print_out(f"{escaped(target)}: {format_bytes(count)}")
    return Exit.DONE


RESTORE = (
    """\
Usage: queuectl db restore [options] [--] FILE

Replaces the database by the backup FILE, after a check of FILE. Stop all
services first. The replaced database is kept; its path is printed. A database
in PostgreSQL is restored by: queuectl --db COPY-OF-FILE db move --to URL
"""
    + COMMON
    + """
Exit code 75: a service runs.

Examples:
  queuectl worker stop && queuectl db restore /srv/backup/q.db
  queuectl db restore --db new.db q.db
"""
)


def restore(context: Context, arguments: Arguments) -> int:
    """Replaces the database by a backup. Raises BusyError while a service runs."""
    kept = context.maintenance().restore(_file_path(arguments), now_ms=now_ms())
    if context.json:
        print_json({"restored": context.database, "kept": kept})
    else:
        print_out(f"{escaped(context.database)} restored")
        if kept is not None:
            print_out(f"the replaced database is {escaped(kept)}")
    return Exit.DONE


MOVE = (
    """\
Usage: queuectl db move [options] --to WHERE

Moves all jobs and settings to another database: from an SQLite file to
PostgreSQL, or back. Stop all services first; no job may be processing. Jobs
keep their ids, history and output. Meanwhile no program can write. All rows are
read again from the new database and compared. After that every program refuses
the old database, which keeps its content, and names the new one.

If a move is interrupted, give the same command again. Until then the old one
can be used as before, or every program refuses both and names the command.

Options:
  --to WHERE           the path of a new file, or postgresql://HOST/DATABASE
                       without jobs and settings, or none
"""
    + COMMON
    + """
Exit code 75: a service runs, or a job is processing. Exit code 4: WHERE exists
and has jobs.

Examples:
  queuectl db move --to 'postgresql://queued@db.example.com/queue'
  queuectl --db 'postgresql://queued@db.example.com/queue' db move --to q.db
"""
)


def move(context: Context, arguments: Arguments) -> int:
    """Moves the queue. Raises BusyError while it is in use."""
    from socket import gethostname

    from queued.store import queue_copy

    target = context.engine_at(arguments.text("--to") or "")
    copied = queue_copy.move(
        context.maintenance().place(), target.maintenance(None).place(), gethostname()
    )
    if context.json:
        tables = {name: table._asdict() for name, table in copied.items()}
        print_json({"moved": context.database, "to": target.name, "tables": tables})
    else:
        for name, table in copied.items():
            print_out(f"{name}: {table.rows} rows, checksum {table.checksum}")
        print_out(f"{escaped(context.database)} was moved to {escaped(target.name)}")
    return Exit.DONE


UPGRADE = (
    """\
Usage: queuectl db upgrade [options]

Creates the database if it is missing, and brings an older one to the schema of
this version. For SQLite each command does that by itself. Over PostgreSQL run
it with the new version, then upgrade the hosts one by one.
"""
    + COMMON
    + """
Examples:
  queuectl db upgrade
  queuectl db upgrade --json
"""
)


def upgrade(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Creates or upgrades the database."""
    kept = context.upgrade()
    if context.json:
        print_json({"database": context.database, "kept": kept})
    else:
        print_out(f"{escaped(context.database)}: {context.engine.describe()}")
        if kept is not None:
            print_out(f"the older one is {escaped(kept)}")
    return Exit.DONE


VACUUM = (
    """\
Usage: queuectl db vacuum [options]

Returns the space of deleted jobs to the disk. This needs free space of the size
of the database. Services may run: their jobs go on, and their writes wait. In
PostgreSQL it is VACUUM (ANALYZE): the tables keep most of the space for new
rows, and no write waits.
"""
    + COMMON
    + """
Examples:
  queuectl db vacuum
  queuectl db vacuum --json
"""
)


def vacuum(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Shrinks the file."""
    before, after = context.maintenance().vacuum()
    if context.json:
        print_json({"before": before, "after": after})
    else:
        freed = format_bytes(max(0, before - after))
        print_out(f"{format_bytes(before)} before, {format_bytes(after)} now: {freed} freed")
    return Exit.DONE


STATS = (
    """\
Usage: queuectl db stats [options]

Prints the sizes of the database and its parts, and counts all rows (slow if the
database is large). Over PostgreSQL also prints dead rows, the last autovacuum,
the oldest snapshot, and standbys.
"""
    + COMMON
    + """
Examples:
  queuectl db stats
  queuectl db stats --json
"""
)


def stats(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Prints sizes and counts."""
    from queued.ctl import stats_view
    from queued.ctl.table import key_value_lines, table_width

    found = context.maintenance().stats()
    if context.json:
        print_json({"database": context.database, **stats_view.record(found)})
    else:
        print_out(
            "\n".join(key_value_lines(stats_view.fields(context.database, found), table_width()))
        )
    return Exit.DONE


def _file_path(arguments: Arguments) -> str:
    text = arguments.text("FILE") or ""
    if not text or "\0" in text:
        msg = "FILE takes the path of a file"
        raise UsageError(msg)
    return os.path.abspath(text)
