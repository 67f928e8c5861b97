"""Job arrays: many jobs with one command, of which each gets an index of its own."""

import json
from collections.abc import Iterator

from queued.core import field_checks as check
from queued.core import ids
from queued.core.errors import UsageError
from queued.core.job_spec import options_text
from queued.core.model import NewJob


def jobs_of(job: NewJob) -> Iterator[NewJob]:
    """Yields the jobs of the array that a new job describes. Raises UsageError."""
    for field in ("unique_key", "stdin"):
        if getattr(job, field):
            msg = f"an array takes no {field}: each of its jobs would have the same"
            raise UsageError(msg)
    name = job.id or ids.make(1)[0]
    options = json.loads(job.options)
    for index in job.array:
        own = {"QUEUED_ARRAY_ID": name, "QUEUED_ARRAY_INDEX": str(index)}
        env = {**options.get("env", {}), **own}
        yield job._replace(
            id=check.job_id("id", f"{name}_{index}"),
            array=(),
            array_id=name,
            options=options_text({**options, "env": env}),
        )
