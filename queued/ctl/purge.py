"""The command purge: counts ended jobs, or deletes them with their history and output."""

import time

from queued.core.errors import Exit, UsageError
from queued.core.model import State
from queued.core.suggestions import did_you_mean
from queued.core.times import LATEST_MS, monotonic_s, now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_err, print_json, print_out, progress

ENDED = (State.COMPLETED, State.DEAD, State.CANCELLED)

PURGE = (
    """\
Usage: queuectl purge [options]

Counts the jobs that have ended; with --yes, deletes them with their history and
output. New jobs reuse the freed space; `queuectl db vacuum` returns it to the
disk.

Options:
  --state STATE        completed, dead or cancelled (default: all three)
  -q, --queue QUEUE    only jobs of this queue
  --older-than AGE     only jobs that ended longer ago (12h, 30d, 2w)
  --yes                delete them
"""
    + COMMON
    + """
Examples:
  queuectl purge --older-than 7d
  queuectl purge --state completed --yes
"""
)


def purge(context: Context, arguments: Arguments) -> int:
    """Prints how many jobs match, and deletes them if --yes is given."""
    states = _states(arguments.text("--state"))
    queue = arguments.text("--queue")
    age_s = arguments.seconds("--older-than")
    before_ms = LATEST_MS if age_s is None else now_ms() - round(min(age_s, LATEST_MS) * 1000)
    counts = {
        state: context.store.ended(state, queue=queue, before_ms=before_ms) for state in states
    }
    wanted = arguments.flag("--yes")
    if wanted:
        if not context.json:
            print_err(f"deleting {_counts_text(counts)}")
        counts = {state: _remove(context, state, queue, before_ms) for state in states}
    if context.json:
        print_json({**{state.value: n for state, n in counts.items()}, "removed": wanted})
    else:
        print_out(f"{_counts_text(counts)} {'deleted' if wanted else 'would be deleted'}")
        if not wanted:
            print_err("nothing was deleted; to delete them, add --yes")
    return Exit.DONE


def _states(text: str | None) -> tuple[State, ...]:
    if text is None:
        return ENDED
    if text not in ENDED:
        known = [state.value for state in ENDED]
        hint = did_you_mean(text, known)
        msg = f"--state takes {', '.join(known[:-1])} or {known[-1]} here, not {text!r}{hint}"
        raise UsageError(msg)
    return (State(text),)


def _counts_text(counts: dict[State, int]) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{n} {state}" for state, n in counts.items())
    return f"{total} job{'' if total == 1 else 's'} ({parts})"


def _remove(context: Context, state: State, queue: str | None, before_ms: int) -> int:
    """Deletes in batches, each followed by an equally long pause, so that others can write."""
    removed, began_s = 0, monotonic_s()
    for count in context.store.purge(state, queue=queue, before_ms=before_ms):
        removed += count
        progress(f"deleted: {removed} {state}")
        time.sleep(monotonic_s() - began_s)
        began_s = monotonic_s()
    progress("")
    return removed
