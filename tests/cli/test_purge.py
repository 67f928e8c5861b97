"""purge: a count first, and only what has ended, is old enough and is in the queue."""

import pytest

from queued.core.model import Outcome
from queued.core.runs import Ending
from tests.cli.queuectl_runner import QueuectlRunner, failed

CANCELLED = Ending(Outcome.CANCELLED)


@pytest.fixture
def jobs(queuectl: QueuectlRunner) -> list[str]:
    """Three that have ended, one that runs and one that waits."""
    queuectl.run("done", queue="a")
    queuectl.run("broken", failed(), max_retries=1, queue="a")
    queuectl.run("stopped", CANCELLED, queue="b")
    queuectl.add("running")
    queuectl.claim()
    queuectl.add("waiting")
    return ["done", "broken", "stopped", "running", "waiting"]


def test_without_yes_it_only_counts(queuectl: QueuectlRunner, jobs: list[str]) -> None:
    done = queuectl("purge")
    told = "3 jobs (1 completed, 1 dead, 1 cancelled) would be deleted\n"
    assert done == (0, told, "nothing was deleted; to delete them, add --yes\n")
    counted = {"completed": 1, "dead": 1, "cancelled": 1, "removed": False}
    assert queuectl.json("purge") == counted
    assert queuectl.ids() == jobs


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ([], {"done", "broken", "stopped"}),
        (["--state", "completed"], {"done"}),
        (["--state", "dead"], {"broken"}),
        (["--state=cancelled"], {"stopped"}),
        (["--queue", "a"], {"done", "broken"}),
        (["--queue", "b", "--state", "dead"], set()),
        (["--queue", "\u00e9"], set()),
        (["--older-than", "1h"], set()),
        (["--older-than", "9" * 400], set()),
        (["--older-than", "0"], {"done", "broken", "stopped"}),
    ],
)
def test_purge_deletes_the_jobs_that_it_counted(
    queuectl: QueuectlRunner, jobs: list[str], words: list[str], gone: set[str]
) -> None:
    counted = queuectl.json("purge", *words)
    removed = queuectl.json("purge", *words, "--yes")
    assert {**counted, "removed": True} == removed
    assert sum(removed.values()) - 1 == len(gone)
    assert queuectl.ids() == [job for job in jobs if job not in gone]


@pytest.mark.both_engines
def test_purge_prints_the_numbers(queuectl: QueuectlRunner, jobs: list[str]) -> None:
    done = queuectl("purge", "--state", "dead", "--yes")
    assert done == (0, "1 job (1 dead) deleted\n", "deleting 1 job (1 dead)\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--state", "running"], "--state takes completed, dead or cancelled here, not 'running'"),
        (["--state", "ded"], "not 'ded'; did you mean 'dead'?"),
        (["--state", ""], "not ''"),
        (["--older-than", "soon"], "--older-than: not a duration: 'soon'"),
    ],
)
def test_bad_words(queuectl: QueuectlRunner, words: list[str], told: str) -> None:
    done = queuectl("purge", *words, "--yes")
    assert (done.code, done.out) == (2, "")
    assert told in done.err
