"""What users change with queuectl while a real service runs: edits, reruns, keys of jobs."""

import json

import pytest

from tests.service import Queue

pytestmark = pytest.mark.both_engines


def _ok(queue: Queue, *words: str) -> str:
    done = queue.queuectl(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def test_a_held_job_runs_as_it_was_edited(served: Queue) -> None:
    _ok(served, "enqueue", "--hold", "--id", "a", "--", "echo before")
    changes = ("command=echo $WORD", "env=WORD=after", "queue=other", "priority=3")
    _ok(served, "edit", *(word for one in changes for word in ("--set", one)), "a")
    _ok(served, "release", "a")
    job = served.wait("a")
    assert (job.label, job.queue, job.priority) == ("completed", "other", 3)
    assert served.output("a") == b"after\n"


def test_a_rerun_is_a_job_of_its_own_that_names_the_one_before(served: Queue) -> None:
    first = _ok(served, "enqueue", "--max-retries", "1", "--", "echo $WORD; exit ${CODE:-3}")
    assert served.wait(first).label == "dead"
    again = _ok(served, "rerun", "--set", "env=CODE=0", "--set", "env=WORD=again", first)
    assert served.wait(again).label == "completed"
    assert served.output(again) == b"again\n"
    assert json.loads(_ok(served, "show", "--json", again))["options"]["rerun_of"] == first
    assert served.job(first).label == "dead"


def test_a_job_that_waits_for_its_time_can_be_run_now(served: Queue) -> None:
    later = _ok(served, "enqueue", "--in", "1h", "--", "true")
    assert served.job(later).label == "scheduled"
    _ok(served, "run-now", later)
    assert served.wait(later).label == "completed"


@pytest.mark.parametrize("key", [("--unique-key", "k"), ("--key", "k", "--on-conflict", "discard")])
def test_no_second_job_is_added_while_the_first_one_runs(
    served: Queue, key: tuple[str, ...]
) -> None:
    go = served.file(f"go{key[0]}")
    first = _ok(served, "enqueue", *key, "--", f"until [ -e {go} ]; do sleep 0.05; done")
    served.wait(first, "processing")
    assert _ok(served, "enqueue", *key, "--", "true") == first
    go.touch()
    assert served.wait(first).label == "completed"
    second = _ok(served, "enqueue", *key, "--", "true")
    assert second != first
    assert served.wait(second).label == "completed"
