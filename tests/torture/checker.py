"""The rules for the history of a job. Each broken rule yields a line.

A history is taken when all jobs have ended. Nothing here reads a database or a clock, so that
each rule can be tested with a history that breaks it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from queued.core.model import Outcome, State
from queued.core.records import Attempt, Job
from queued.core.times import parse_when
from tests.torture import signal_rules, user_rules
from tests.torture.history import History, RecordedResult, TraceLine

_ROUNDING_MS = (
    3  # the end of a run is its start by the wall clock plus its duration by the monotonic one
)

_NEVER_COUNTED = {Outcome.INTERRUPTED, Outcome.CANCELLED, Outcome.EXPIRED}


def check(history: History) -> list[str]:
    """Returns a line for each broken promise, with the name of the rule."""
    return [f"{rule.__name__.strip('_')}: {broken}" for rule in RULES for broken in rule(history)]


def _damaged(history: History) -> Iterator[str]:
    yield from history.damage


def _lost(history: History) -> Iterator[str]:
    """An acknowledged job is in the database."""
    yield from sorted(history.acknowledged - history.jobs.keys())


def _invented(history: History) -> Iterator[str]:
    """The database has no job that was not enqueued, except hooks, firings and reruns."""
    for name in sorted(history.jobs.keys() - history.asked - history.acknowledged):
        job = history.jobs[name]
        has_rule = job.scheduled_ms is not None or job.options.rerun_of is not None
        if _hook_of(job)[0] not in history.jobs and not has_rule:
            yield name


def _hook_of(job: Job) -> tuple[str, str]:
    """Returns the parent's id and its state at its end; empty texts if the job is no hook."""
    env = job.options.env or {}
    return env.get("QUEUED_PARENT_ID", ""), env.get("QUEUED_PARENT_STATE", "")


def _unhooked(history: History) -> Iterator[str]:
    """Each end of a job with a hook has enqueued one hook job, and no other job has one."""
    hooks = Counter(_hook_of(job) for job in history.jobs.values())
    for job in history.jobs.values():
        ends = {
            State.DEAD: (job.state is State.DEAD) + history.died[job.id],
            State.COMPLETED: int(job.state is State.COMPLETED),
        }
        commands = {State.DEAD: job.options.on_dead, State.COMPLETED: job.options.on_completed}
        for state, n in ends.items():
            expected = n if commands[state] else 0
            if hooks[job.id, state] != expected:
                yield f"{job.id} was {state} {n} times and has {hooks[job.id, state]} hooks"


def _unfinished(history: History) -> Iterator[str]:
    for job in history.jobs.values():
        if job.state in (State.PENDING, State.PROCESSING):
            yield f"{job.id} is {job.label}"
        for run in history.attempts[job.id]:
            if run.ended_ms is None:
                yield f"{job.id} attempt {run.number} has no end"


def _miscounted(history: History) -> Iterator[str]:
    """Runs are numbered without a gap; `attempts` counts the failed ones since the last retry."""
    for job in history.jobs.values():
        runs = history.attempts[job.id]
        if [number for run in runs for number in _numbers(run)] != list(range(1, job.runs + 1)):
            yield f"{job.id} has {job.runs} runs, and attempts {[run.number for run in runs]}"
        counted = sum(_counts(job, run) for run in runs if run.number > _budget(history, job))
        if counted != job.attempts:
            yield f"{job.id} has {job.attempts} attempts, and {counted} runs that count"


def _numbers(run: Attempt) -> range:
    """Returns the numbers of the runs that a record stands for: deferred runs in a row have one."""
    return range(run.number + 1 - max(run.deferrals, 1), run.number + 1)


def _budget(history: History, job: Job) -> int:
    """Returns the number of runs before the last retry by a user."""
    return max(history.retried.get(job.id, []), default=0)


def _counts(job: Job, run: Attempt) -> bool:
    if run.outcome is None or run.outcome in _NEVER_COUNTED or _succeeded(run):
        return False
    return not (run.outcome is Outcome.EXIT and run.exit_code in (job.options.defer_on or ()))


def _succeeded(run: Attempt) -> bool:
    return run.outcome is Outcome.EXIT and run.exit_code == 0


def _illegal(history: History) -> Iterator[str]:
    """The state follows from the last run, and no run follows one that succeeded."""
    for job in history.jobs.values():
        runs = history.attempts[job.id]
        last = runs[-1] if runs else None
        if job.state is State.COMPLETED and not (last and _succeeded(last)):
            yield f"{job.id} is completed without a run that succeeded"
        if job.state is State.DEAD and not (last and _dies(job, last)):
            yield f"{job.id} is dead after {job.attempts} of {job.max_retries} attempts"
        for run in runs[:-1]:
            if _succeeded(run):
                yield f"{job.id} ran again after attempt {run.number} had succeeded"
        yield from _too_often(history, job)


def _dies(job: Job, last: Attempt) -> bool:
    if last.outcome is Outcome.EXPIRED:
        return True
    if not _counts(job, last):
        return False
    late = job.options.deadline is not None and parse_when(job.options.deadline) <= job.updated_ms
    final = last.exit_code in (job.options.no_retry_on or ())
    return late or final or job.attempts >= job.max_retries


def _too_often(history: History, job: Job) -> Iterator[str]:
    """Between two retries by a user, a job fails no more often than `max_retries`."""
    bounds = [0, *sorted(history.retried.get(job.id, [])), job.runs]
    for low, high in pairwise(bounds):
        runs = [run for run in history.attempts[job.id] if low < run.number <= high]
        if sum(_counts(job, run) for run in runs) > max(1, job.max_retries):
            yield f"{job.id} failed more often than {job.max_retries} times"


def _changed(history: History) -> Iterator[str]:
    """A result that was seen or logged never changes."""
    for witness in [*history.announced, *history.seen]:
        if witness.job not in history.jobs:
            continue
        runs = [run for run in history.attempts[witness.job] if witness.attempt in _numbers(run)]
        recorded = [_witness(witness, run) for run in runs]
        if recorded != [witness]:
            yield f"{witness} is now {recorded}"


def _witness(witness: RecordedResult, run: Attempt) -> RecordedResult:
    """Returns what the record says of the run that the witness saw."""
    return RecordedResult(
        job=witness.job,
        attempt=witness.attempt,
        outcome=str(run.outcome),
        exit_code=run.exit_code,
        signal=run.signal,
    )


def _twice(history: History) -> Iterator[str]:
    """A result is recorded once, so it is logged once."""
    for (name, attempt), n in Counter((w.job, w.attempt) for w in history.announced).items():
        if n > 1:
            yield f"{name} attempt {attempt} was recorded {n} times"


def _overlapping(history: History) -> Iterator[str]:
    """A run starts only after the previous one has ended."""
    for name, marks in history.traces.items():
        for mark in marks:
            if mark.word == "overlap":
                yield f"{name} attempt {mark.attempt} began while an earlier run was alive"
        for before, after in pairwise(_by_run(marks)):
            if _last(before).at_cs > after[0].at_cs:
                yield f"{name} attempts {before[0].attempt} and {after[0].attempt} overlap"


def _by_run(marks: list[TraceLine]) -> list[list[TraceLine]]:
    """Returns the lines of each process of a trace, in the order of their starts."""
    runs: dict[tuple[int, int], list[TraceLine]] = {}
    for mark in marks:
        runs.setdefault((mark.attempt, mark.pid), []).append(mark)
    return sorted(runs.values(), key=lambda run: run[0].at_cs)


def _last(run: list[TraceLine]) -> TraceLine:
    return max(run, key=lambda mark: mark.at_cs)


def _untold(history: History) -> Iterator[str]:
    """A run in the trace is in the history once, and a success in the history is in the trace."""
    for name, marks in history.traces.items():
        starts = Counter(mark.attempt for mark in marks if mark.word == "start")
        known = {number for run in history.attempts.get(name, []) for number in _numbers(run)}
        for attempt, n in starts.items():
            if attempt not in known:
                yield f"{name} attempt {attempt} ran and is not in the history"
            if n > 1:
                yield f"{name} attempt {attempt} ran {n} times"
    for name, runs in history.attempts.items():
        words = {(mark.word, mark.attempt) for mark in history.traces.get(name, [])}
        for run in runs:
            if _succeeded(run) and not {("start", run.number), ("end", run.number)} <= words:
                yield f"{name} attempt {run.number} succeeded and did not run to its end"


def _early(history: History) -> Iterator[str]:
    """A retry waits for its delay after the end of the failed run."""
    for job in [job for name, job in history.jobs.items() if name not in history.hurried]:
        failed, budgets = 0, set(history.retried.get(job.id, []))
        for before, after in pairwise(history.attempts[job.id]):
            failed = 0 if budgets & {n - 1 for n in _numbers(before)} else failed
            deferred = before.exit_code in (job.options.defer_on or ())
            failed += _counts(job, before)
            if before.number in budgets or not (deferred or _counts(job, before)):
                continue
            wait_ms = _deferral_ms(job) if deferred else _delay_ms(job, failed)
            if after.deferrals > 1 or after.outcome is Outcome.EXPIRED:
                continue  # the first deferred run, which waited, has no record; an expiry is no run
            waited_ms = after.started_ms - (before.ended_ms or 0)
            if waited_ms < wait_ms - _ROUNDING_MS:
                yield f"{job.id} attempt {after.number} came after {waited_ms} of {wait_ms} ms"


def _delay_ms(job: Job, failed: int) -> float:
    base, longest = job.options.backoff_base or 0, job.options.backoff_max or 0
    return min(base**failed, longest) * 1000


def _deferral_ms(job: Job) -> float:
    """Returns the wait after the first deferral; later ones are not shorter."""
    return (job.options.defer_delay or 0) * 1000


def _uncancelled(history: History) -> Iterator[str]:
    """A cancelled job is not retried, except by a user."""
    for name in sorted(history.cancelled - history.retried.keys()):
        job = history.jobs.get(name)
        if job is not None and job.state not in (State.CANCELLED, State.COMPLETED):
            yield f"{name} is {job.label}"


def _miscounted_labels(history: History) -> Iterator[str]:
    counted = dict(Counter(str(job.label) for job in history.jobs.values()))
    if counted != history.counts:
        yield f"the table says {history.counts}, there are {counted}"


def _unprinted(history: History) -> Iterator[str]:
    """The output of a successful run is stored byte for byte."""
    for name, printed in history.prints.items():
        for run in history.attempts.get(name, []):
            if _succeeded(run) and history.output.get((name, run.number)) != printed:
                yield f"{name} attempt {run.number} printed something else"


def _left_behind(history: History) -> Iterator[str]:
    yield from history.alive


def _ended_wrongly(history: History) -> Iterator[str]:
    """A service ends only if it is killed, stopped, or loses its lock file or its database."""
    for end in history.ends:
        if end.exit_code not in end.allowed:
            yield f"{end.service} ended with {end.exit_code}, not with {sorted(end.allowed)}"


RULES: tuple[Callable[[History], Iterator[str]], ...] = (
    _damaged, _lost, _invented, _unfinished, _miscounted, _illegal, _changed, _twice, _overlapping,
    _untold, _early, _uncancelled, _miscounted_labels, _unprinted, _left_behind,
    _ended_wrongly, _unhooked, *user_rules.RULES, *signal_rules.RULES,
)  # fmt: skip
