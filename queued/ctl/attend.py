"""`enqueue --wait`: shows what a new job prints until it ends; Ctrl+C cancels the job."""

from queued.core.model import State
from queued.core.times import now_ms
from queued.ctl.context import Context
from queued.ctl.logs import Printer, follow, write_apart
from queued.ctl.records import job_record
from queued.ctl.render import put_json, say
from queued.ctl.wait import await_end, code_of


def attend(context: Context, name: str) -> int:
    """The exit code of the job, once it has ended."""
    try:
        say(name)
        return _attended(context, name)
    except KeyboardInterrupt:
        return _cancelled(context, name)


def _attended(context: Context, name: str) -> int:
    (seq,) = context.find([name])
    if context.json:
        (job,) = await_end(context, [seq])
        code = code_of(context.store, job)
        put_json({**job_record(job), "exit_code": code})
        return code
    return code_of(context.store, follow(context, Printer(context.store, seq, (1, 2), write_apart)))


def _cancelled(context: Context, name: str) -> int:
    """Cancels the job and waits until nothing of it runs; a second Ctrl+C does not wait."""
    (seq,) = context.find([name])
    if context.store.cancel(seq, now_ms=now_ms()) is State.PROCESSING:
        say(f"queuectl: {name} is asked to end")
    (job,) = await_end(context, [seq])
    say(f"queuectl: {name} {job.label}")
    return 130
