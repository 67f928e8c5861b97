"""The command purge: removes ended jobs with their history and output, after a count."""

import time

from queued.core.errors import Exit, UsageError
from queued.core.model import State
from queued.core.suggestions import nearest
from queued.core.times import LATEST_MS, monotonic_s, now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import progress, put, put_json, say

ENDED = (State.COMPLETED, State.DEAD, State.CANCELLED)

PURGE = (
    """\
Usage: queuectl purge [options]

Removes jobs that have ended, with their history and output, for good; or only
says how many there are, without --yes. `queuectl db vacuum` gives the room that
they took back to the disk; new jobs use it in any case.

Options:
  --state STATE        completed, dead or cancelled (else all three)
  --queue QUEUE        of this queue only
  --older-than AGE     that ended longer ago (seconds, or 90m, 12h, 30d)
  --yes                do it
"""
    + COMMON
)


def purge(context: Context, arguments: Arguments) -> int:
    """Counts what would go, and removes it if that is wanted."""
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
            say(f"removing {_told(counts)}")
        counts = {state: _remove(context, state, queue, before_ms) for state in states}
    if context.json:
        put_json({**{state.value: n for state, n in counts.items()}, "removed": wanted})
    else:
        put(f"{_told(counts)} {'removed' if wanted else 'would be removed'}")
        if not wanted:
            say("nothing was removed; add --yes to do it")
    return Exit.DONE


def _states(text: str | None) -> tuple[State, ...]:
    if text is None:
        return ENDED
    if text not in ENDED:
        known = [state.value for state in ENDED]
        hint = nearest(text, known)
        msg = f"--state takes {', '.join(known[:-1])} or {known[-1]} here, not {text!r}{hint}"
        raise UsageError(msg)
    return (State(text),)


def _told(counts: dict[State, int]) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{n} {state}" for state, n in counts.items())
    return f"{total} job{'' if total == 1 else 's'} ({parts})"


def _remove(context: Context, state: State, queue: str | None, before_ms: int) -> int:
    """In batches; after each it rests as long as that took, so that nobody waits for long."""
    removed, began_s = 0, monotonic_s()
    for count in context.store.purge(state, queue=queue, before_ms=before_ms):
        removed += count
        progress(f"removed: {removed} {state}")
        time.sleep(monotonic_s() - began_s)
        began_s = monotonic_s()
    progress("")
    return removed
