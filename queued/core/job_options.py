"""The options of a job: one frozen record, stored as a JSON object of the options that were given.

A `NamedTuple`, because every `queuectl` imports it and a dataclass would slow its start.
"""

from typing import NamedTuple


class JobOptions(NamedTuple):
    """The options of one job. A field is None if it was not given; then the setting applies.

    Times are in seconds, sizes in bytes. `job_spec.FIELDS` has the range and meaning of each.
    """

    backoff_base: float | None = None
    backoff_jitter: float | None = None
    backoff_max: float | None = None
    cancel_on: tuple[int, ...] | None = None
    cwd: str | None = None
    deadline: str | None = None
    defer_delay: float | None = None
    defer_on: tuple[int, ...] | None = None
    env: dict[str, str] | None = None
    kill_grace: float | None = None
    leave_children: bool | None = None
    limits: dict[str, int] | None = None
    nice: int | None = None
    no_retry_on: tuple[int, ...] | None = None
    note: str | None = None
    on_completed: str | None = None
    on_dead: str | None = None
    output_limit: int | None = None
    rerun_of: str | None = None
    split: bool | None = None
    stdin_bytes: int | None = None
    timeout: float | None = None
    umask: str | None = None
    warn_signal: str | None = None

    def given(self) -> dict[str, object]:
        """Returns the options that were given, by name, in the order in which they are stored."""
        return {name: value for name, value in self._asdict().items() if value is not None}


NO_OPTIONS = JobOptions()
