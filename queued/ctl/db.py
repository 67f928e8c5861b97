"""The database as a whole: check, backup, restore, vacuum, stats."""

import os
from typing import TYPE_CHECKING

from queued.core.errors import Exit, UsageError
from queued.core.times import iso, now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import escaped, pairs, put, put_json, say, size, width_here

if TYPE_CHECKING:
    from queued.store.sqlite.maintenance.stats import Figures

CHECK = (
    """\
Usage: queuectl db check [options]

Whether the database is sound: its pages, the counters, and that what runs can
be accounted for. Exit 1 if it is not. Others may use it meanwhile.

Options:
  --full               compare all indexes and references, too; takes longer
"""
    + COMMON
)


def check(context: Context, arguments: Arguments) -> int:
    """Prints what is wrong, a line each."""
    from queued.store.sqlite.maintenance import integrity_check

    full = arguments.flag("--full")
    report = integrity_check.check(context.database, context.busy_handler, full=full)
    good = not report.problems
    if context.json:
        put_json({"good": good, "full": full, "problems": report.problems, "notes": report.notes})
    elif good:
        put("good" if full else "good, as far as a quick check tells")
    else:
        put("\n".join(escaped(problem) for problem in report.problems))
        say("queuectl: the database is not sound; keep a copy, and see: queuectl help db restore")
    if not context.json:
        for note in report.notes:
            say(escaped(note))
    return Exit.DONE if good else Exit.NO


BACKUP = (
    """\
Usage: queuectl db backup [options] [--] FILE

Copies the database as it is at one moment, while services go on. FILE appears
when it is whole, checked and on the disk. `db restore` puts it back, and so
does `cp`, while nothing runs and no -wal file lies beside the old database.

Options:
  --force              replace FILE if it exists and nothing uses it
"""
    + COMMON
)


def backup(context: Context, arguments: Arguments) -> int:
    """Makes a copy. Raises ConflictError if the file exists."""
    from queued.store.sqlite.maintenance.backup import backup as copy

    target = _file(arguments)
    copy(context.database, target, context.busy_handler, replace=arguments.flag("--force"))
    count = os.stat(target).st_size
    if context.json:
        put_json({"backup": target, "bytes": count})
    else:
        put(f"{escaped(target)}: {size(count)}")
    return Exit.DONE


RESTORE = (
    """\
Usage: queuectl db restore [options] [--] FILE

Puts a backup in place of the database, while no service runs. FILE is checked
first. The old database stays beside, under a name that is printed.

Options:
"""
    + COMMON
)


def restore(context: Context, arguments: Arguments) -> int:
    """Puts a backup in place. Raises BusyError while a service runs."""
    from queued.store.sqlite.maintenance.backup import restore as put_back

    stamp = iso(now_ms()).replace("-", "").replace(":", "").replace(".", "")
    kept = f"{context.database}.{stamp}.bak"
    there = put_back(context.database, _file(arguments), kept, context.busy_handler)
    if context.json:
        put_json({"restored": context.database, "kept": kept if there else None})
    else:
        put(f"{escaped(context.database)} restored")
        if there:
            put(f"the old one is {escaped(kept)}")
    return Exit.DONE


VACUUM = (
    """\
Usage: queuectl db vacuum [options]

Gives room that removed jobs took back to the disk. It needs as much free room
as the database takes. A service may run: its jobs go on, and what it has to
write waits until this is done.

Options:
"""
    + COMMON
)


def vacuum(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands are called alike
    """Shrinks the file."""
    from queued.store.sqlite.maintenance.backup import vacuum as shrink

    before, after = shrink(context.database, context.busy_handler)
    if context.json:
        put_json({"before": before, "after": after})
    else:
        put(f"{size(before)} before, {size(after)} now: {size(max(0, before - after))} gained")
    return Exit.DONE


STATS = (
    """\
Usage: queuectl db stats [options]

How large the database is, and what takes the room. It counts all rows.

Options:
"""
    + COMMON
)


def stats(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands are called alike
    """Prints sizes and counts."""
    from queued.store.sqlite.maintenance import stats

    found = stats.stats(context.database, context.busy_handler)
    if context.json:
        ends = {"oldest": _end(found.oldest), "newest": _end(found.newest)}
        put_json({"database": context.database, **found._asdict(), **ends})
    else:
        put("\n".join(pairs(_named(context.database, found), width_here())))
    return Exit.DONE


def _end(job: tuple[str, int] | None) -> dict[str, str] | None:
    return None if job is None else {"id": job[0], "created_at": iso(job[1])}


def _named(path: str, found: "Figures") -> list[tuple[str, str]]:
    free = found.free_pages * found.page_bytes
    ends = {"oldest job": found.oldest, "newest job": found.newest}
    return [
        ("database", path),
        ("schema", str(found.schema)),
        ("size", f"{size(found.bytes)}, of which {size(free)} are free"),
        ("write-ahead log", size(found.wal_bytes)),
        *((f"rows of {table}", str(count)) for table, count in found.rows.items()),
        (
            "output",
            f"{size(found.output_kept_bytes)} kept of {size(found.output_printed_bytes)} printed",
        ),
        *((name, f"{job[0]}, {iso(job[1])}") for name, job in ends.items() if job),
    ]


def _file(arguments: Arguments) -> str:
    text = arguments.text("FILE") or ""
    if not text or "\0" in text:
        msg = "FILE needs the path of a file"
        raise UsageError(msg)
    return os.path.abspath(text)
