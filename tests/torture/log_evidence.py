"""The results that services logged, and the processes that outlive their run."""

from collections.abc import Iterable
from pathlib import Path

from queued.service.linux import procfs
from tests.open_descriptors import targets
from tests.service import Service
from tests.torture.history import RecordedResult

_RUN_ENDS = (
    "job.completed",
    "job.retrying",
    "job.deferred",
    "job.dead",
    "job.cancelled",
    "job.interrupted",
)


def logged_results(services: Iterable[Service]) -> list[RecordedResult]:
    """Returns each recorded result, from the log of the dispatcher that recorded it."""
    return [
        RecordedResult(
            job=line["job"],
            attempt=line["attempt"],
            outcome=line["outcome"],
            exit_code=line["exit_code"],
            signal=line["signal"],
        )
        for service in services
        for event in _RUN_ENDS
        for line in service.logged(event)
    ]


def outliving_processes(traces: Path) -> list[str]:
    """Returns the processes that hold the lock of a run: each process of a run inherits it."""
    found = []
    for process in procfs.all_processes().values():
        if not process.dead and any(
            target.startswith(str(traces)) for target in targets(process.pid)
        ):
            name = procfs.environment(process.pid).get(b"QUEUED_JOB_ID", b"").decode()
            found.append(f"{name} pid {process.pid}")
    return found
