"""Job arrays: many jobs with one command, of which each gets an index of its own."""

from collections.abc import Iterator, Sequence

from queued.core import field_checks as check
from queued.core import ids
from queued.core.errors import UsageError
from queued.core.job_spec import new_job, options_text
from queued.core.model import Array, NewJob


def new_jobs(payload: object) -> Sequence[NewJob]:
    """Returns the job that `payload` describes, or those of its array. Raises UsageError."""
    job = new_job(payload)
    return [job] if job.array is None else [*_jobs_of(job, job.array)]


def _jobs_of(job: NewJob, array: Array) -> Iterator[NewJob]:
    import json

    for field in ("unique_key", "stdin"):
        if getattr(job, field):
            msg = f"an array takes no {field}: each of its jobs would have the same"
            raise UsageError(msg)
    if array.at_once is not None and job.key is not None:
        msg = "an array with %N takes no key: its jobs share one for the limit"
        raise UsageError(msg)
    name = job.id or ids.make(1)[0]
    options = json.loads(job.options)
    if array.at_once is not None:
        job = job._replace(key=f"array:{name}", key_limit=array.at_once)
    for index in array.indexes:
        own = {"QUEUED_ARRAY_ID": name, "QUEUED_ARRAY_INDEX": str(index)}
        env = {**options.get("env", {}), **own}
        yield job._replace(
            id=check.job_id("id", f"{name}_{index}"),
            array=None,
            array_id=name,
            options=options_text({**options, "env": env}),
            after=(*job.after, *(f"{other}_{index}" for other in job.after_index)),
            after_index=(),
        )
