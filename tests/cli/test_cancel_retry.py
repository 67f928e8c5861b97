"""cancel and dlq retry, and how a job is named."""

import re
import signal
from contextlib import closing

import pytest

from queued.core.model import NewJob
from queued.core.times import now_ms
from tests.cli.queuectl_runner import QueuectlRunner, failed
from tests.service import eventually


def test_ids_beside_a_filter_are_those_that_match(queuectl: QueuectlRunner) -> None:
    for name in "abc":
        queuectl.add(name, queue="q" if name == "b" else "p")
    told = "queuectl: a does not match the options\n"
    done = queuectl("list", "--quiet", "-q", "q", "a", "b")
    assert done == (1, "b\n", told)
    assert queuectl("cancel", "--queue", "q", "a", "b") == (1, "b cancelled\n", told)
    assert queuectl("list", "--quiet", "--state", "pending", "a", "c") == (0, "a\nc\n", "")
    none = f"{told}queuectl: no job that was named matches the options\n"
    assert queuectl("cancel", "--priority", "9", "a") == (1, "", none)
    assert queuectl.ids("--state", "pending") == ["a", "c"]


def test_cancel_pending(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl.ok("cancel", "a") == "a cancelled\n"
    job = queuectl.json("show", "a")
    assert (job["state"], job["last_error"]) == ("cancelled", "cancelled")


@pytest.mark.both_engines
def test_cancel_running(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl.claim()
    assert queuectl.ok("cancel", "a") == "a: cancel requested; it is still running\n"
    assert queuectl.json("show", "a")["cancel_requested_at"] is not None
    assert "processing (cancel requested)" in queuectl.ok("show", "a")


def test_cancel_many_json(queuectl: QueuectlRunner) -> None:
    for name in ("a", "b", "c"):
        queuectl.add(name)
    queuectl.claim()
    assert queuectl.json("cancel", "a", "b", "b") == {"cancelled": ["b"], "asked": ["a"]}


def test_cancel_refuses_ended_jobs(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    queuectl.add("b")
    kept = queuectl.dump()
    done = queuectl("cancel", "a")
    assert done == (4, "", "queuectl: a is already completed\n")
    assert queuectl.dump() == kept
    assert queuectl("cancel", "a", "b")[:2] == (4, "b cancelled\n")


def test_cancel_touches_nothing_if_one_is_unknown(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    kept = queuectl.dump()
    done = queuectl("cancel", "a", "nope")
    assert done == (3, "", "queuectl: no job 'nope' (see: queuectl list)\n")
    assert queuectl.dump() == kept


@pytest.mark.both_engines
def test_recent_jobs(queuectl: QueuectlRunner) -> None:
    assert queuectl("show", "@last").code == 3
    for name in ("a", "b", "c"):
        queuectl.add(name)
    names = {"@last": "c", "@-1": "c", "@-2": "b", "@-3": "a"}
    assert {word: queuectl.json("show", word)["id"] for word in names} == names
    assert queuectl("show", "@-4") == (3, "", "queuectl: no job @-4: there are only 3\n")
    assert queuectl("show", "@first").code == 3
    assert queuectl.ok("cancel", "@-2", "@last") == "b cancelled\nc cancelled\n"
    assert queuectl("enqueue", "--id", "@-2", "true").code == 2, "that name is taken"


def test_dlq_retry(queuectl: QueuectlRunner) -> None:
    queuectl.run("a", failed(7), max_retries=1)
    queuectl.add("b")
    queuectl.ok("cancel", "b")
    assert queuectl.ok("dlq", "retry", "a", "b") == "a pending\nb pending\n"
    job = queuectl.json("show", "a")
    assert (job["state"], job["attempts"], job["runs"]) == ("pending", 0, 1)
    assert len(job["attempts_history"]) == 1


@pytest.mark.both_engines
def test_dlq_retry_touches_nothing_if_one_is_not_dead(queuectl: QueuectlRunner) -> None:
    queuectl.run("a", failed(7), max_retries=1)
    queuectl.add("b")
    kept = queuectl.dump()
    done = queuectl("dlq", "retry", "a", "b")
    assert done == (4, "", "queuectl: b is pending, not dead; nothing was retried\n")
    assert queuectl("dlq", "retry", "a", "nope").code == 3
    assert queuectl.dump() == kept


@pytest.mark.both_engines
def test_dlq_retry_all(queuectl: QueuectlRunner) -> None:
    queuectl.ok("config", "set", "workers", "2")
    assert queuectl("dlq", "retry", "--all") == (0, "0 jobs retried\n", "")
    assert queuectl.json("dlq", "retry", "--all") == {"retried": []}
    queuectl.run("a", failed(7), max_retries=1)
    queuectl.run("b", failed(8), max_retries=1)
    queuectl.add("c")
    queuectl.ok("cancel", "c")
    assert queuectl.json("dlq", "retry", "--exit-code", "7") == {"retried": ["a"]}
    queuectl.ok("cancel", "a")
    told = "queuectl: 3 jobs (1 dead, 2 cancelled) match; "
    told += "to retry them, add --yes (--dry-run prints their ids)\n"
    both = ("dlq", "retry", "--state", "dead,cancelled")
    assert queuectl(*both) == (2, "", told)
    assert queuectl.json(*both, "--yes") == {"retried": ["b", "a", "c"]}


@pytest.mark.parametrize("verb", ["cancel", "dlq retry", "dlq purge", "purge"])
def test_a_change_needs_jobs_or_a_filter(queuectl: QueuectlRunner, verb: str) -> None:
    queuectl.add("a")
    queuectl.run("b", failed(7), max_retries=1, priority=1)
    kept = queuectl.dump()
    for words in (["--yes"], ["--all", "a"]):
        done = queuectl(*verb.split(), *words)
        assert (done.code, done.out) == (2, "")
        assert "give ids" in done.err
    assert queuectl(*verb.split(), "--state", "scheduled,completed", "--dry-run").code == 2
    assert queuectl(*verb.split(), "a", "b", "--dry-run")[0] == 0
    assert queuectl.dump() == kept


def test_cancel_of_what_matches(queuectl: QueuectlRunner) -> None:
    for name in ("a", "b", "c", "d"):
        queuectl.add(name, command=f"sleep {name}", queue="even" if name in "bd" else "odd")
    queuectl.claim()
    told = "queuectl: 4 jobs (3 pending, 1 processing) match; "
    told += "to cancel them, add --yes (--dry-run prints their ids)\n"
    assert queuectl("cancel", "--all") == (2, "", told)
    told = "2 jobs would be cancelled; nothing was changed\n"
    assert queuectl("cancel", "--queue", "even", "--dry-run") == (0, "b\nd\n", told)
    assert queuectl.ok("cancel", "--queue", "even", "--yes") == "2 jobs cancelled\n"
    assert queuectl.json("cancel", "--command", "*c") == {"cancelled": ["c"], "asked": []}
    stopping = "0 jobs cancelled; 1 more is still running and will be stopped\n"
    assert queuectl.ok("cancel", "--all") == stopping
    assert queuectl.ok("cancel", "--all", "--state", "pending") == "0 jobs cancelled\n"


def test_an_interrupted_change_says_how_much_was_done(queuectl: QueuectlRunner) -> None:
    with closing(queuectl.engine.open_store(10)) as store:
        store.enqueue([NewJob("true")] * 5000, max_retries=3, now_ms=now_ms())
    process = queuectl.start("cancel", "--all", "--yes")
    eventually(lambda: queuectl.json("list", "--state", "cancelled", "-n1"), "some are cancelled")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    told = re.fullmatch(rb"queuectl: ([0-9,]+) of 5,000 jobs were cancelled, .*\n", err)
    assert told
    done = int(told[1].replace(b",", b""))
    assert process.returncode == 130
    assert 0 < done < 5000
    assert len(queuectl.ids("--state", "cancelled")) == done


@pytest.mark.both_engines
def test_an_id_that_was_made_may_be_cut_short(queuectl: QueuectlRunner) -> None:
    first, second = "1abcdefghjkmn", "1abcz00000000"  # as generated ids are
    for name in (first, second):
        queuectl.add(name, max_retries=1)
    queuectl.end(queuectl.claim(), failed(7))
    assert queuectl.ok("dlq", "retry", first[:5]) == f"{first} pending\n"
    assert queuectl.ok("cancel", second[:5]) == f"{second} cancelled\n"


@pytest.mark.both_engines
@pytest.mark.parametrize("name", ["nope", "", "-x", "a\nb", "%", "\udcff"])
def test_unknown_names(queuectl: QueuectlRunner, name: str) -> None:
    queuectl.add("a")
    done = queuectl("show", "--", name)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("queuectl: no job '")
    assert done.err.count("\n") == 1
