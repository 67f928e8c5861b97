"""enqueue --array, and what stands for all jobs of an array."""

import sqlite3
from contextlib import closing
from unittest.mock import patch

import pytest

from queued.core.model import Outcome
from queued.core.runs import Ending
from queued.core.times import now_ms
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.edits import SqliteEdits
from tests.cli.in_process_cli import run
from tests.cli.queuectl_runner import QueuectlRunner


def test_an_array_is_named_as_one(queuectl: QueuectlRunner) -> None:
    assert queuectl("enqueue", "--id", "a", "--array", "1-3", "true")[:2] == (0, "a\n")
    queuectl.add("b")
    queuectl.claim()
    queuectl.ok("cancel", "a_2")
    assert queuectl.ok("list", "--array", "a", "--quiet") == "a_1\na_2\na_3\n"
    job = queuectl.json("show", "a_3")
    assert (job["array"], job["array_index"]) == ("a", 3)
    assert "array         a, index 3\n" in queuectl.ok("show", "a_3")
    done = queuectl("cancel", "a")
    assert (done.code, done.out) == (
        0,
        "a_1: cancel requested; it is still running\na_3 cancelled\n",
    )
    assert queuectl.json("list", "b")[0]["state"] == "pending"
    queuectl.ok("dlq", "retry", "--array", "a", "--state", "cancelled", "--yes")
    assert queuectl.ok("list", "--array", "a", "--state", "pending", "--quiet") == "a_2\na_3\n"


@pytest.mark.sqlite_only
def test_the_jobs_of_an_array_are_changed_by_a_transaction_for_many(
    queuectl: QueuectlRunner,
) -> None:
    queuectl("enqueue", "--id", "a", "--array", "1-300", "true")
    for verb, method in (("hold", (SqliteEdits, "hold")), ("cancel", (SqliteStore, "cancel_all"))):
        with patch.object(*method, autospec=True, side_effect=getattr(*method)) as change:
            done = run(["--db", str(queuectl.database), verb, "a"])
        assert (done.code, done.out.count("\n"), change.call_count) == (0, 300, 2)
    done = run(["--db", str(queuectl.database), "hold", "a_1", "a_2"])
    assert (done.code, done.err.count("is cancelled and cannot be held")) == (4, 2)


def test_an_array_without_a_job_for_a_command(queuectl: QueuectlRunner) -> None:
    queuectl("enqueue", "--id", "a", "--array", "1,2", "true")
    queuectl.add("other")
    queuectl.ok("cancel", "a")
    assert queuectl("cancel", "a") == (4, "", "queuectl: a has no job to cancel\n")
    assert queuectl.json("list", "other")[0]["state"] == "pending"
    done = queuectl("show", "a")
    assert (done.code, done.out) == (2, "")
    assert "a is an array of 2 jobs; name one of them, such as a_1" in done.err


def test_a_job_waits_for_all_jobs_of_an_array(queuectl: QueuectlRunner) -> None:
    queuectl("enqueue", "--id", "a", "--array", "1-2", "true")
    queuectl("enqueue", "--id", "last", "--after", "a", "true")
    lines = (
        '{"id": "x", "command": "true", "array": "0-1", "after": ["a_1"]}\n'
        '{"id": "y", "command": "true", "after_any": ["x"]}\n'
    )
    assert queuectl("enqueue", "-", stdin=lines)[:2] == (0, "x_0\nx_1\ny\n")
    waits = [[one["job"] for one in queuectl.json("show", job)["dependencies"]] for job in "y"]
    assert waits == [["x_0", "x_1"]]
    assert "waits for a_1 to complete, a_2 to complete" in queuectl.ok("show", "last")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--array", "3-1", "true"), "array takes indexes from 0 to 1,000,000 such as 1-100"),
        (("--array", "1-2", "--wait", "true"), "--wait takes one job"),
        (("--array", "1-2%0", "true"), "array takes a number from 1 to 1,000 after %, not '0'"),
        (("--array", "1-2", "--unique-key", "k", "true"), "an array takes no unique_key"),
        (("--id", "a", "--array", "1-2", "--after", "a", "true"), "no job 'a'"),
    ],
)
def test_bad_arrays_are_refused(
    queuectl: QueuectlRunner, words: tuple[str, ...], told: str
) -> None:
    queuectl.add("other")
    done = queuectl("enqueue", *words)
    assert done.code != 0
    assert told in done.err
    assert done.err.count("\n") == 1
    assert [job["id"] for job in queuectl.json("list")] == ["other"]


@pytest.mark.sqlite_only
def test_a_job_that_another_program_has_put_into_an_array_has_no_index(
    queuectl: QueuectlRunner,
) -> None:
    queuectl.add("a")
    with closing(sqlite3.connect(queuectl.database)) as other, other:
        other.execute("UPDATE jobs SET array_id = 'x'")
    job = queuectl.json("show", "a")
    assert (job["array"], job["array_index"]) == ("x", None)
    assert "array         x\n" in queuectl.ok("show", "a")


def test_a_table_has_room_for_the_ids_of_an_array(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "--id", "longer-than-most", "--array", "9,10", "--", "true")
    queuectl.add("b")
    heading, *rows = queuectl.ok("list").splitlines()
    assert {row.index("pending") for row in rows} == {heading.index("STATE")}


def test_an_index_that_exists_is_named(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "--id", "frames", "--array", "2", "--", "true")
    done = queuectl("enqueue", "--id", "frames", "--array", "1-3", "--", "true")
    told = "a job with the id 'frames_2' exists already; give other indexes or another id"
    assert done == (4, "", f"queuectl: {told}\n")


def test_how_many_jobs_of_an_array_run_at_once_is_changed(queuectl: QueuectlRunner) -> None:
    queuectl("enqueue", "--id", "a", "--array", "1-3%1", "true")
    assert queuectl.ok("edit", "--set", "key-limit=2", "a").count("\n") == 3
    assert {queuectl.json("show", f"a_{n}")["key_limit"] for n in (1, 2, 3)} == {2}
    queuectl.add("plain")
    done = queuectl("edit", "--set", "key-limit=2", "plain")
    assert (done.code, "a job without a key, and not of an array with %N" in done.err) == (2, True)
    assert queuectl("edit", "--set", "key-limit=0", "a").code == 2


@pytest.mark.both_engines
def test_each_job_of_an_array_waits_for_that_of_another_with_its_index(
    queuectl: QueuectlRunner,
) -> None:
    queuectl.ok("enqueue", "--id", "a", "--array", "1-3", "true")
    queuectl.add("first")
    second = ("--array", "2,3", "--after-index", "a", "--after", "first", "true")
    queuectl.ok("enqueue", "--id", "b", *second)
    waits = {
        name: {
            (one["job"], one["condition"]) for one in queuectl.json("show", name)["dependencies"]
        }
        for name in ("b_2", "b_3")
    }
    assert waits == {f"b_{n}": {("first", "after"), (f"a_{n}", "after")} for n in (2, 3)}
    for _ in range(4):
        claim = queuectl.claim()
        queuectl.end(claim, Ending(Outcome.EXIT, exit_code=int(claim.id == "a_2")), backoff=1e6)
    with queuectl.ledger.transaction():
        queuectl.ledger.promote(now_ms=now_ms(), limit=9)
    assert queuectl.ids("--array", "b", "--state", "blocked") == ["b_2"]
    assert queuectl.claim().id == "b_3"


def test_an_index_that_another_array_lacks_is_refused(queuectl: QueuectlRunner) -> None:
    lines = (
        '{"id": "a", "command": "true", "array": "1-2"}\n'
        '{"id": "b", "command": "true", "array": "%s", "after_index": ["a"]}\n'
    )
    done = queuectl("enqueue", "-", stdin=lines % "2-3")
    assert (done.code, "no job 'a_3', for which b_3 is to wait" in done.err) == (3, True)
    assert queuectl.ids() == []
    assert queuectl("enqueue", "-", stdin=lines % "1-2").code == 0
    done = queuectl("enqueue", "--after-index", "a", "true")
    assert (done.code, done.err) == (2, "queuectl: after_index needs an array\n")
