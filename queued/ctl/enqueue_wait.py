"""`enqueue --wait`: shows what a new job prints until it ends; Ctrl+C cancels the job."""

from typing import TYPE_CHECKING

from queued.core.model import Job, Outcome, State
from queued.core.times import now_ms
from queued.ctl.context import Context
from queued.ctl.json_records import job_record
from queued.ctl.logs import Printer, follow, write_apart
from queued.ctl.render import put_json, say
from queued.ctl.wait import await_end, code_of, ending

if TYPE_CHECKING:
    from queued.store.protocols import Store


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
    job = follow(context, Printer(context.store, seq, (1, 2), write_apart))
    _explain(context.store, job)
    return code_of(context.store, job)


def _explain(store: "Store", job: Job) -> None:
    """Says how it ended, unless the command itself chose to end so and could say why."""
    last = store.attempts(job.seq)[-1:]
    by_itself = job.state is State.DEAD and last and last[0].outcome is Outcome.EXIT
    if job.state is not State.COMPLETED and not by_itself:
        say(f"queuectl: {job.id} {ending(job)}")


def _cancelled(context: Context, name: str) -> int:
    """Cancels the job and waits until nothing of it runs; a second Ctrl+C does not wait."""
    (seq,) = context.find([name])
    if context.store.cancel(seq, now_ms=now_ms()) is State.PROCESSING:
        say(f"queuectl: {name} is asked to end")
    (job,) = await_end(context, [seq])
    say(f"queuectl: {name} {job.label}")
    return 130
