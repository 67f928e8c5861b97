"""`enqueue --wait`: prints the output of a new job until it ends; Ctrl+C cancels the job."""

from typing import TYPE_CHECKING

from queued.core.model import Outcome, State
from queued.core.records import Job
from queued.core.times import now_ms
from queued.ctl.context import Context
from queued.ctl.json_records import job_record
from queued.ctl.logs import Printer, follow, write_to_own_stream
from queued.ctl.render import print_err, print_json
from queued.ctl.wait import await_end, end_text, exit_code_of

if TYPE_CHECKING:
    from queued.store.protocols import Store


def show_until_end(context: Context, name: str) -> int:
    """Prints the id and the output of a job until it ends. Returns the exit code of the job."""
    try:
        print_err(name)
        return _show(context, name)
    except KeyboardInterrupt:
        return _cancel_and_wait(context, name)


def _show(context: Context, name: str) -> int:
    (seq,) = context.find([name])
    if context.json:
        (job,) = await_end(context, [seq])
        code = exit_code_of(context.store, job)
        last = context.store.last_attempts([job]).get(seq)
        print_json({**job_record(job, last), "exit_code": code})
        return code
    job = follow(context, Printer(context.store, seq, (1, 2), write_to_own_stream))
    _report_end(context.store, job)
    return exit_code_of(context.store, job)


def _report_end(store: "Store", job: Job) -> None:
    """Prints how the job ended, unless the command itself exited and could print why."""
    last = store.attempts(job.seq)[-1:]
    by_itself = job.state is State.DEAD and last and last[0].outcome is Outcome.EXIT
    if job.state is not State.COMPLETED and not by_itself:
        print_err(f"queuectl: {job.id} {end_text(job)}")


def _cancel_and_wait(context: Context, name: str) -> int:
    """Cancels the job and waits until it has ended; a second Ctrl+C ends the wait."""
    (seq,) = context.find([name])
    if context.store.cancel(seq, now_ms=now_ms()) is State.PROCESSING:
        print_err(f"queuectl: {name}: cancel requested; it is still running")
    (job,) = await_end(context, [seq])
    print_err(f"queuectl: {name} {job.label}")
    return 130
