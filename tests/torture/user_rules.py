"""The rules for what users set: limits, keys, expiries, holds, edits, arrays, reruns and others."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from queued.core.model import Outcome, State
from queued.core.records import Job
from queued.core.schedules import CatchUp, Overlap, Schedule
from tests.torture.history import History, is_hook

_MINUTE_MS = 60_000
_INEXACT_MS = 5  # of the times of the database
_PASSED_OVER = 40  # starts of other queues; one of the smallest weight has a sixth of all starts
_TURN_MS = 200  # a server tells a turn that has begun of a pause too late


def _exceeded(history: History) -> Iterator[str]:
    """A run has its places of the limits of its queue, its key and its schedule to itself."""
    for name, marks in history.traces.items():
        for mark in marks:
            _, exceeded, limit = mark.word.partition("exceeded:")
            if exceeded:
                yield f"{name} attempt {mark.attempt} began at {mark.at_cs}, and {limit} was full"


def _rushed(history: History) -> Iterator[str]:
    """No interval has more starts of a queue or a key than its rate allows.

    It is the claim that counts, which lies between the time from which the run was possible and the
    time at which it began. Only where both are in the interval is it certain that the claim is.
    """
    for (owner, (most, rate_ms)), jobs in _jobs_with_rates(history).items():
        spans = sorted(_spans_of_claims(history, jobs))
        for number, (first_ms, _) in enumerate(spans):
            end_ms = first_ms + rate_ms - _INEXACT_MS
            within = spans[number : bisect_left(spans, (end_ms, 0))]
            starts = sum(began_ms < end_ms for _, began_ms in within)
            if starts > most:
                yield f"{owner} had {starts} starts in {rate_ms} ms from {first_ms} on"


def _jobs_with_rates(history: History) -> dict[tuple[str, tuple[int, int]], list[Job]]:
    """Returns the jobs of each queue and each key with a rate."""
    found: dict[tuple[str, tuple[int, int]], list[Job]] = {}
    for job in history.jobs.values():
        if job.queue in history.rates:
            found.setdefault((job.queue, history.rates[job.queue]), []).append(job)
        if job.key_rate is not None:
            found.setdefault((f"the key {job.key}", job.key_rate), []).append(job)
    return found


def _spans_of_claims(history: History, jobs: list[Job]) -> Iterator[tuple[int, int]]:
    """Yields for each run of the jobs from when it was possible, and when it began."""
    for job in jobs:
        possible_ms = job.created_ms
        for run in history.attempts[job.id]:
            if run.outcome is not Outcome.EXPIRED:
                yield possible_ms, run.started_ms
            possible_ms = run.ended_ms or possible_ms


def _shared(history: History) -> Iterator[str]:
    """Of the jobs that wait or run, one has a unique key."""
    for key, names in history.keys:
        if len(names) > 1:
            yield f"{key} was that of {', '.join(names)}"


def _expired(history: History) -> Iterator[str]:
    """A job is not started after it has expired, and its expiry is no run of its command."""
    for job in history.jobs.values():
        traced = {mark.attempt for mark in history.traces.get(job.id, [])}
        for run in history.attempts[job.id]:
            late = job.expires_ms is not None and run.started_ms >= job.expires_ms
            if run.outcome is not Outcome.EXPIRED and late:
                yield f"{job.id} attempt {run.number} started {run.started_ms} of {job.expires_ms}"
            if run.outcome is Outcome.EXPIRED and run.number in traced:
                yield f"{job.id} attempt {run.number} expired and ran"


def _held(history: History) -> Iterator[str]:
    for name, before, after in history.holds:
        if before != after:
            yield f"{name} had {before} runs when it was held, and {after} when it was released"


def _unedited(history: History) -> Iterator[str]:
    """An edit stays, and each later run has it."""
    for name in history.edits.keys() & history.jobs.keys():
        edits = history.edits[name]
        labels = history.jobs[name].labels or {}
        if labels.get("edit") != str(len(edits)):
            yield f"{name} has the labels {labels} after {len(edits)} edits"
        for mark in history.traces.get(name, []):
            known = sum(runs < mark.attempt for runs in edits)
            if mark.edit < known:
                yield f"{name} attempt {mark.attempt} had edit {mark.edit} of {known}"


def _paused(history: History) -> Iterator[str]:
    """A turn that begins when a queue is paused claims none of its jobs."""
    for queue, since_ms, claims in history.pauses:
        for (name, run), at_ms in sorted(claims.items()):
            if at_ms > since_ms + _TURN_MS:
                yield f"{name} attempt {run} was claimed when {queue} was paused"


def _suspended(history: History) -> Iterator[str]:
    """The runs of a suspended queue are frozen, and none of them advances until the resume."""
    for one in history.suspensions:
        yield from one.late
        for name, attempt in sorted(one.runs):
            for mark in history.traces.get(name, []):
                if mark.attempt == attempt and one.frozen_cs < mark.at_cs < one.resumed_cs:
                    yield f"{name} attempt {attempt} advanced at {mark.at_cs} in {one.queue}"


def _resumed(history: History) -> Iterator[str]:
    """The runs of a queue that was resumed go on."""
    for one in history.suspensions:
        for process in one.stuck:
            yield f"{process} of {one.queue} was still stopped after {one.resumed_cs}"


def _misplaced(history: History) -> Iterator[str]:
    """A job that was moved before another one is claimed first."""
    for job, other in history.moves:
        places = [(-one.priority, one.next_run_at_ms, one.seq) for one in (job, other)]
        if places != sorted(places):
            yield f"{job.id} was moved before {other.id}, and comes after it: {places}"


def _torn(history: History) -> Iterator[str]:
    """An array has a job for each of its indexes, once, or no job."""
    found: dict[str, list[str]] = {}
    for job in history.jobs.values():
        if job.array_id is not None:
            found.setdefault(job.array_id, []).append(job.id)
    for name, jobs in found.items():
        if sorted(jobs) != sorted(history.arrays.get(name, [])):
            yield f"{name} has the jobs {sorted(jobs)}"


def _untimely(history: History) -> Iterator[str]:
    """A job starts after the ends that it waits for, unless a user has retried one of the jobs."""
    wanted = {"after": State.COMPLETED, "after_fail": State.DEAD}
    for name, waits in history.waits.items():
        starts = [mark.at_cs for mark in history.traces.get(name, [])]
        if not starts or name in history.retried:
            continue
        for condition, other in waits:
            if other not in history.jobs or _was_retried(history, other):
                continue
            state = history.jobs[other].state
            if state is not wanted.get(condition, state):
                yield f"{name} has run {condition} {other}, which is {state}"
            if any(mark.at_cs > min(starts) for mark in history.traces.get(other, [])):
                yield f"{name} has run before the end of {other}"


def _was_retried(history: History, name: str) -> bool:
    """Returns whether a user has retried the job, or one that it waited for."""
    others = [other for _, other in history.waits.get(name, [])]
    return name in history.retried or any(_was_retried(history, other) for other in others)


def _misfired(history: History) -> Iterator[str]:
    """Each time of a schedule fires once, or is skipped or missed as its policies say."""
    for schedule, first_ms in history.schedules:
        jobs = [job for job in history.jobs.values() if job.schedule == schedule.name]
        fired = Counter(job.scheduled_ms for job in jobs if job.scheduled_ms is not None)
        due = range(first_ms, schedule.next_ms or first_ms, _MINUTE_MS)
        for at_ms, n in fired.items():
            if n > 1 or at_ms not in due:
                yield f"{schedule.name} has fired {n} times for {at_ms}"
        missed = len(due) - len(fired) - schedule.skipped
        if missed < 0 or (missed and schedule.catch_up == CatchUp.ALL):
            yield f"{schedule.name} has missed {missed} of its times"
        if due and schedule.last_ms != due[-1]:
            yield f"{schedule.name} has fired last for {schedule.last_ms}, not for {due[-1]}"
        skips = schedule.overlap == Overlap.SKIP
        if schedule.fired != len(fired) or (schedule.skipped and not skips):
            yield f"{schedule.name} counts {schedule.fired} and {schedule.skipped}"
        if schedule.overlap == Overlap.REPLACE:
            yield from _unreplaced(history, schedule, jobs)


def _unreplaced(history: History, schedule: Schedule, jobs: list[Job]) -> Iterator[str]:
    """When a job is replaced, at most the run that it has then ends later."""
    for before, after in pairwise(sorted(jobs, key=lambda job: job.seq)):
        ends = [run.ended_ms or 0 for run in history.attempts[before.id]]
        later = sum(end > after.created_ms for end in ends)
        if after.scheduled_ms is not None and (later > 1 or before.state is State.PENDING):
            yield f"{schedule.name}: {before.id} ran {later} times after {after.id} replaced it"


def _misrepeated(history: History) -> Iterator[str]:
    """A rerun adds one job that is like the old one; one that was killed adds one or none."""
    found = Counter(job.options.rerun_of for job in history.jobs.values())
    asked = Counter(one.of.id for one in history.reruns)
    for name in sorted({name for name in found if name is not None} | asked.keys()):
        told = [one for one in history.reruns if one.of.id == name and one.new is not None]
        if not len(told) <= found[name] <= asked[name]:
            yield f"{name} has {found[name]} jobs like it after {asked[name]} reruns"
        for one in told:
            if one.new in history.jobs:  # else it is lost
                yield from _unlike(history, one.of, history.jobs[str(one.new)])


def _unlike(history: History, old: Job, new: Job) -> Iterator[str]:
    """Yields a line if the new job differs in what a rerun repeats and no user has changed."""
    old, new = (one._replace(options=one.options._replace(deadline=None)) for one in (old, new))
    fields = ["command", "queue", "max_retries", "requires", "slots", "unique_key"]
    fields += ["key", "key_limit", "key_rate"]
    if not {old.id, new.id} & (history.edits.keys() | history.hurried):
        old = old._replace(options=old.options._replace(rerun_of=old.id))
        fields += ["priority", "labels", "options"]
    for field in fields:
        values = getattr(old, field), getattr(new, field)
        if values[0] != values[1]:
            yield f"{new.id} repeats {old.id}, and differs in {field}: {values}"


def _admitted(history: History) -> Iterator[str]:
    """A queue that drains takes no new jobs, except hooks."""
    for queue, since_ms, until_ms in history.drains:
        for job in history.jobs.values():
            new = job.queue == queue and since_ms + _INEXACT_MS < job.created_ms < until_ms
            if new and not is_hook(job):
                yield f"{job.id} was added to {queue} at {job.created_ms}, drained at {since_ms}"


def _starved(history: History) -> Iterator[str]:
    """No queue waits while others have many starts, whatever the weights."""
    starts = sorted(
        (run.started_ms, job.queue)
        for job in history.jobs.values()
        for run in history.attempts[job.id]
        if run.outcome is not Outcome.EXPIRED
    )
    for job, queue, since_ms, until_ms in history.passed:
        first, last = bisect_left(starts, (since_ms, "")), bisect_left(starts, (until_ms, ""))
        queues = [name for _, name in starts[first:last]]
        if queue not in queues and len(queues) > _PASSED_OVER:
            yield f"{job} of {queue} waited from {since_ms} on for {len(queues)} starts of others"


RULES: tuple[Callable[[History], Iterator[str]], ...] = (
    _exceeded, _rushed, _shared, _expired, _held, _unedited, _paused, _suspended, _resumed,
    _misplaced, _torn, _untimely, _misfired, _misrepeated, _admitted, _starved,
)  # fmt: skip
