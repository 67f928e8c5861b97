"""The commands queue pause, resume and drain, each for several queues in one transaction."""

from collections.abc import Mapping

from queued.core.errors import Exit, UsageError
from queued.core.records import Queue
from queued.core.suggestions import did_you_mean
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.queue_view import unknown_queue, views_of
from queued.ctl.render import print_err, print_json, print_out

_ALL = """\
  -a, --all            all queues that `queuectl queue list` shows
"""
PAUSE = (
    """\
Usage: queuectl queue pause [options] [QUEUES...]

Keeps all services from starting jobs of queues, until `queuectl queue resume`.
Running jobs go on to their end, and new jobs can be enqueued. A queue that is
already paused stays so since the same time; a reason replaces the one before.
With --suspend the running jobs are frozen until then; their timeout does not
count meanwhile, but a deadline does. They keep their workers and places.

Options:
"""
    + _ALL
    + """\
  --suspend            freeze the running jobs, too
  --reason TEXT        why, for `queuectl queue show`
"""
    + COMMON
    + """
Examples:
  queuectl queue pause mail --reason 'the relay is down'
  queuectl queue pause --all
"""
)


def pause(context: Context, arguments: Arguments) -> int:
    """Pauses queues, or replaces the reason of their pause."""
    suspends, reason = arguments.flag("--suspend"), arguments.line("--reason")
    queues = _named(context, arguments, "pause")
    changes: dict[str, dict[str, object]] = {}
    for one in queues:
        changes[one.name] = {} if reason is None else {"paused_reason": reason}
        begun = {"paused_ms": one.paused_ms or now_ms(), "paused_by": one.paused_by or _user()}
        if one.paused_ms is None:
            changes[one.name] |= begun
        if suspends and one.suspended_ms is None:  # another program may end the pause meanwhile
            changes[one.name] |= {**begun, "suspended_ms": now_ms()}
    told = {one.name: "suspended" if suspends or one.suspended_ms else "paused" for one in queues}
    return _change(context, arguments, changes, told, "is already {}")


def _user() -> str:
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


RESUME = (
    """\
Usage: queuectl queue resume [options] [QUEUES...]

Ends a pause or a drain of queues. Frozen jobs go on.

Options:
"""
    + _ALL
    + COMMON
    + """
Examples:
  queuectl queue resume mail
"""
)


def resume(context: Context, arguments: Arguments) -> int:
    """Opens the queues that are not open. Raises NotFoundError."""
    named = _named(context, arguments, "resume", new=False)
    pause = ("paused_ms", "paused_by", "paused_reason", "suspended_ms")
    opened = dict.fromkeys((*pause, "draining_ms"))
    changes = {
        one.name: opened if one.paused_ms or one.suspended_ms or one.draining_ms else {}
        for one in named
    }
    told = dict.fromkeys(changes, "resumed")
    return _change(context, arguments, changes, told, "was neither paused nor draining")


DRAIN = (
    """\
Usage: queuectl queue drain [options] [QUEUES...]

Lets queues take no new jobs, until `queuectl queue resume`. Services run the
jobs that they have.

Options:
"""
    + _ALL
    + COMMON
    + """
Examples:
  queuectl queue drain mail
"""
)


def drain(context: Context, arguments: Arguments) -> int:
    """Lets queues take no new jobs."""
    begun = {"draining_ms": now_ms()}
    changes = {
        one.name: {} if one.draining_ms else begun for one in _named(context, arguments, "drain")
    }
    told = dict.fromkeys(changes, "draining")
    return _change(context, arguments, changes, told, "is already {}")


def _named(context: Context, arguments: Arguments, verb: str, *, new: bool = True) -> list[Queue]:
    """Returns what users have set for the queues, which may be `new`.

    Raises UsageError, NotFoundError.
    """
    from queued.core.field_checks import queue

    names, everything = arguments.texts("QUEUES"), arguments.flag("--all")
    if bool(names) is everything:
        msg = f"which queues to {verb}? give either names or --all"
        raise UsageError(msg)
    known = {view.queue.name: view.queue for view in views_of(context)}
    if everything:
        return list(known.values())
    for name in () if new else names:
        if name not in known:
            raise unknown_queue(name, known)
    named = [known.get(name) or Queue(queue("QUEUE", name)) for name in dict.fromkeys(names)]
    for name in (one.name for one in named if one.name not in known):
        print_err(f"queuectl: {name} has no job yet{did_you_mean(name, known)}")
    return named


def _change(
    context: Context,
    arguments: Arguments,
    changes: Mapping[str, Mapping[str, object]],
    told: Mapping[str, str],
    otherwise: str,
) -> int:
    """Makes the changes, and says for each queue what was changed, or that nothing was.

    `told`: what each queue is then; `otherwise`: what is said of a queue that is so already.
    """
    if made := {name: one for name, one in changes.items() if one}:
        context.store.queues.change_each(made)
    if context.json:
        records = [view.record() for view in views_of(context) if view.queue.name in changes]
        several = len(records) > 1 or arguments.flag("--all")
        print_json(records if several else next(iter(records), None))
        return Exit.DONE
    for name in changes:
        if name in made:
            print_out(f"{name} {told[name]}")
        elif not arguments.flag("--all"):
            print_err(f"queuectl: {name} {otherwise.format(told[name])}")
    if not made and arguments.flag("--all"):
        print_err("queuectl: no queue was changed")
    return Exit.DONE
