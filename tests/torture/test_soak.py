"""A short soak in each run of the tests. The long one: make soak JOBS=1000000."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.soak import Soak, broken_promises

JOBS = 4000


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    made = Soak(tmp_path, JOBS)
    try:
        yield made
    finally:
        made.queue.close()


def test_a_soak_loses_no_job_and_needs_no_more_memory(soak: Soak) -> None:
    broken = soak.run()
    print(soak.report(broken))
    assert broken == []
    with sqlite3.connect(soak.queue.path) as changed:
        changed.execute("DELETE FROM jobs WHERE id = 's7'")
        changed.execute("UPDATE attempts SET exit_code = 1 WHERE job = 9")
    changed.close()
    rules = {line.split(":")[0] for line in broken_promises(soak.queue, soak.traces, JOBS)}
    assert {"lost", "illegal", "miscounted"} <= rules, "the checker finds what was changed"
