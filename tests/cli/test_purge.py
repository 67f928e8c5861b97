"""purge: a count first, and only what has ended, is old enough and is in the queue."""

import json

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


def test_several_jobs_need_a_confirmation(queuectl: QueuectlRunner, jobs: list[str]) -> None:
    told = "queuectl: 3 jobs (1 completed, 1 dead, 1 cancelled) match; "
    told += "to delete them, add --yes (--dry-run prints their ids)\n"
    assert queuectl("purge", "--all") == (2, "", told)
    told = "3 jobs would be deleted; nothing was changed\n"
    assert queuectl("purge", "--all", "--dry-run") == (0, "done\nbroken\nstopped\n", told)
    assert queuectl.ids() == jobs


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--all"], {"done", "broken", "stopped"}),
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
    counted = json.loads(queuectl("purge", *words, "--dry-run", "--json").out)
    assert set(counted["ids"]) == gone
    assert sum(queuectl.json("purge", *words, "--yes").values()) == len(gone)
    assert queuectl.ids() == [job for job in jobs if job not in gone]


@pytest.mark.both_engines
def test_purge_prints_the_numbers(queuectl: QueuectlRunner, jobs: list[str]) -> None:
    done = queuectl("purge", "--state", "dead", "--yes")
    assert done == (0, "1 job (1 dead) deleted\n", "")


def test_named_jobs_are_deleted_or_none(queuectl: QueuectlRunner, jobs: list[str]) -> None:
    kept = queuectl.dump()
    told = "queuectl: running is processing, not completed or dead or cancelled; "
    told += "nothing was deleted\n"
    assert queuectl("purge", "done", "running") == (4, "", told)
    assert queuectl("dlq", "purge", "done").code == 4
    assert queuectl("purge", "done", "nope").code == 3
    assert queuectl.dump() == kept
    assert queuectl.ok("purge", "done", "stopped") == "2 jobs (1 completed, 1 cancelled) deleted\n"
    assert queuectl.ok("dlq", "purge", "--all") == "1 job (1 dead) deleted\n"
    assert queuectl.ids() == ["running", "waiting"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which jobs to delete? give ids, a filter such as --queue, or --all"),
        (["--all", "done"], "give ids of jobs or --all, not both"),
        (["--state", "running"], "--state takes completed, dead or cancelled, not 'running'"),
        (["--outcome", "exist"], "not 'exist'; did you mean 'exit'?"),
        (["--exit-code", "256"], "--exit-code takes a whole number from 0 to 255, not '256'"),
        (["--state", "ded"], "not 'ded'; did you mean 'dead'?"),
        (["--state", ""], "not ''"),
        (["--older-than", "soon"], "--older-than: not a duration: 'soon'"),
        (["--since", "2999-01-01"], "or a time that is past, such as 2026-12-01T03:00Z"),
    ],
)
def test_bad_words(queuectl: QueuectlRunner, words: list[str], told: str) -> None:
    done = queuectl("purge", *words, "--yes")
    assert (done.code, done.out) == (2, "")
    assert told in done.err
