"""The settings in force in a service, as one typed record; queuectl needs single settings only."""

from typing import NamedTuple

from queued.core.settings import Source


class Settings(NamedTuple):
    """The value of each setting. Durations in seconds, sizes in bytes."""

    workers: int
    default_max_retries: int
    backoff_base: float
    backoff_max: float
    backoff_jitter: float
    defer_delay: float
    default_timeout: float
    kill_grace: float
    shutdown_grace: float
    output_limit: int
    retention_completed: float
    retention_dead: float
    retention_cancelled: float
    on_dead: str
    on_completed: str
    environment: str
    worker_poll_interval: float
    lease: float
    failover: str
    fence_command: str
    db: str
    labels: str
    queues: str
    schedules: bool
    log_level: str
    log_format: str
    log_max_size: int
    log_output: bool


def settings_of(sources: dict[str, Source]) -> Settings:
    """Returns the values of `resolve` as one record."""
    values = {key: source.value for key, source in sources.items()}
    return Settings(**values)  # type: ignore[arg-type]  # each was checked by its setting
