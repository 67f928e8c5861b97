"""The time limit of a run whose worker is held up while it starts the run."""

import os
from pathlib import Path

from queued.core import times
from queued.core.job_options import JobOptions
from queued.service.ipc.run_notes import RunNotes, read_notes
from queued.service.worker.execution import Execution
from tests.claims import make_run


def test_a_deadline_is_right_if_the_start_is_late(tmp_path: Path) -> None:
    deadline_ms = times.now_ms() + 600_000
    run = make_run(options=JobOptions(deadline=times.iso(deadline_ms)))
    with (tmp_path / "lock").open("w+b") as lock:
        notes = RunNotes(lock.fileno())
        notes.make_room(1)
        asked_s = times.monotonic_s() - 60
        execution = Execution(
            run,
            dict(os.environb),
            None,
            stdin=b"",
            note=notes.note(1),
            runs_lock=None,
            now_s=asked_s,
        )
        execution.tick(asked_s)
        found = read_notes(lock.fileno())
        assert found is not None
        os.waitpid(found[1].leader, 0)
    left_s = (deadline_ms - times.now_ms()) / 1000
    assert execution.next_s > times.monotonic_s() + left_s - 1
