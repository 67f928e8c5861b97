"""The commands db check, backup, restore, vacuum and stats."""

import os
from typing import TYPE_CHECKING

from queued.core.errors import Exit, UsageError
from queued.core.times import iso, now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import escaped, format_bytes, print_err, print_json, print_out
from queued.ctl.table import key_value_lines, table_width

if TYPE_CHECKING:
    from queued.store.engine import DatabaseStats, DatedJob

CHECK = (
    """\
Usage: queuectl db check [options]

Checks the pages of the database, the counters of jobs, and that each running
job belongs to a service. Services and queuectl can use the database meanwhile.

Options:
  --full               also check all indexes and references (slower)
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
        print_out("ok" if full else "ok (quick check; --full also checks indexes)")
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
restore` restores it.

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
services first. The replaced database is kept; its path is printed.
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


UPGRADE = (
    """\
Usage: queuectl db upgrade [options]

Creates the database if it is missing, and brings an older one to the schema of
this version. For SQLite each command does that by itself; over PostgreSQL
upgrade the programs on all hosts first.
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
of the database. Services may run: their jobs go on, and their writes wait.
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
database is large).
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
    found = context.maintenance().stats()
    if context.json:
        ends = {"oldest": _job_record(found.oldest), "newest": _job_record(found.newest)}
        print_json({"database": context.database, **found._asdict(), **ends})
    else:
        print_out("\n".join(key_value_lines(_stats_fields(context.database, found), table_width())))
    return Exit.DONE


def _job_record(job: "DatedJob | None") -> dict[str, str] | None:
    return None if job is None else {"id": job.id, "created_at": iso(job.created_ms)}


def _stats_fields(path: str, found: "DatabaseStats") -> dict[str, str]:
    free = format_bytes(found.free_pages * found.page_bytes)
    kept = format_bytes(found.output_kept_bytes)
    ends = {"oldest job": found.oldest, "newest job": found.newest}
    return {
        "database": path,
        "schema": str(found.schema),
        "size": f"{format_bytes(found.bytes)}, of which {free} are free",
        "write-ahead log": format_bytes(found.wal_bytes),
        **{f"rows of {table}": str(count) for table, count in found.rows.items()},
        "output": f"{kept} kept of {format_bytes(found.output_printed_bytes)} printed",
        **{name: f"{job.id}, {iso(job.created_ms)}" for name, job in ends.items() if job},
    }


def _file_path(arguments: Arguments) -> str:
    text = arguments.text("FILE") or ""
    if not text or "\0" in text:
        msg = "FILE takes the path of a file"
        raise UsageError(msg)
    return os.path.abspath(text)
