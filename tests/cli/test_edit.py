"""edit, rerun and signal: what is printed, and what is refused."""

from typing import Any

import pytest

from tests.cli.queuectl_runner import QueuectlRunner

pytestmark = pytest.mark.both_engines


def test_edit_changes_jobs_that_wait(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", env={"A": "1"})
    queuectl.add("b", run_at="tomorrow 9am")
    fields = ("command=echo x", "priority=3", "env=B=2", "label=l=v", "note=n")
    options = [word for field in fields for word in ("--set", field)]
    assert queuectl.ok("edit", *options, "a", "b") == "a pending\nb scheduled\n"
    job = queuectl.json("show", "a")
    assert (job["command"], job["priority"], job["labels"]) == ("echo x", 3, {"l": "v"})
    assert job["options"] == {"env": {"A": "1", "B": "2"}, "note": "n"}
    assert queuectl.json("edit", "--set", "delay=1h", "a") == {"a": "scheduled"}


def test_edit_takes_the_options_of_enqueue_but_those_of_identity(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", env={"A": "1", "B": "2"}, requires=["gpu"])
    fields = ("split=true", "no-retry-on=2,3", "limit=files=9", "unset-env=A", "requires=")
    options = [word for field in fields for word in ("--set", field)]
    assert queuectl.ok("edit", *options, "a") == "a pending\n"
    job = queuectl.json("show", "a")
    changed = {"split": True, "no_retry_on": [2, 3], "limits": {"files": 9}, "env": {"B": "2"}}
    assert (job["options"], job["requires"]) == (changed, [])
    assert queuectl("edit", "--set", "split=maybe", "a").code == 2
    for name in ("unique-key", "key", "stdin", "after"):
        assert f"--set has no field '{name}'" in queuectl("edit", "--set", f"{name}=x", "a").err


def test_edit_refuses_what_does_not_wait(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl.claim()
    assert queuectl("edit", "--set", "priority=3", "a") == (
        4,
        "",
        "queuectl: a is processing and cannot be edited\n",
    )
    assert queuectl.ok("edit", "--set", "note=half", "--set", "label=x=1", "a") == "a processing\n"
    assert queuectl.ok("edit", "--set", "label=x", "--state", "processing") == "1 job edited\n"
    assert queuectl.json("show", "a")["options"] == {"note": "half"}
    assert "labels" not in queuectl.json("show", "a")
    assert queuectl("edit", "a").code == 2, "nothing to change"
    assert queuectl("edit", "--set", "timeout=x", "a").code == 2
    assert "did you mean 'priority'?" in queuectl("edit", "--set", "priorty=3", "a").err
    assert queuectl("edit", "--set", "priority=3", "nope").code == 3
    assert queuectl("edit", "--set", "run-at=03:00", "--set", "delay=1h", "a").code == 2


def test_edit_rerun_and_signal_take_filters(queuectl: QueuectlRunner) -> None:
    for name in ("a", "b", "c", "d"):
        queuectl.add(name, queue="q" if name in "ab" else "other", unique_key=name)
    found = ("--queue", "q")
    counted = "queuectl: 2 jobs (2 pending) match; to edit them, add --yes"
    assert counted in queuectl("edit", "--set", "queue=r", *found).err
    assert queuectl("edit", "--set", "queue=r", *found, "--dry-run").out == "a\nb\n"
    assert queuectl.ok("edit", "--set", "queue=r", *found, "--yes") == "2 jobs edited\n"
    assert queuectl.ok("list", "-o", "id,queue", "--queue", "r").split()[2:] == ["a", "r", "b", "r"]
    assert queuectl.ok("signal", "--all", "USR1") == "0 jobs signalled\n"
    queuectl.ok("cancel", "b", "c", "d")
    queuectl.claim()
    assert queuectl.json("signal", "--queue", "r", "USR1") == {"signalled": ["a"]}
    assert queuectl.ok("rerun", "b")
    assert queuectl("rerun", "--all").err.startswith("queuectl: 3 jobs (3 cancelled) match")
    added = queuectl.json("rerun", "--state", "cancelled", "--yes")
    assert list(added) == ["c", "d"], "the unique key of b is taken"
    assert queuectl.json("show", added["c"])["options"] == {"rerun_of": "c"}


def test_rerun_adds_a_job_like_an_ended_one(queuectl: QueuectlRunner) -> None:
    fields = {"queue": "q", "priority": 2, "labels": {"l": "v"}, "unique_key": "k", "stdin": "in"}
    queuectl.add("a", "exit 0", **fields, expires_in=3600, deadline="tomorrow 9am", nice=1)
    assert queuectl("rerun", "a") == (4, "", "queuectl: a is pending, it has not ended\n")
    queuectl.ok("cancel", "a")
    name = queuectl.ok("rerun", "a").strip()
    old, new = queuectl.json("show", "a"), queuectl.json("show", name)
    assert old["state"] == "cancelled"
    assert new["options"] == {"nice": 1, "rerun_of": "a", "stdin_bytes": 2}
    assert "expires_at" not in new
    same = ("command", "queue", "priority", "labels", "max_retries", "unique_key", "unique_while")
    assert {field: new[field] for field in same} == {field: old[field] for field in same}
    told = f"queuectl: the job {name} has the unique key 'k'\n"
    assert queuectl("rerun", "a") == (4, "", told)


def test_rerun_with_changes_adds_a_job_that_has_them(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", env={"A": "1", "B": "2"}, labels={"l": "v", "m": "w"}, nice=1)
    queuectl.ok("cancel", "a")
    fields = ("command=echo x", "priority=7", "env=B=3", "unset-env=A", "label=l", "delay=1h")
    options = [word for field in fields for word in ("--set", field)]
    new = queuectl.json("show", queuectl.ok("rerun", *options, "a").strip())
    assert (new["command"], new["priority"], new["state"]) == ("echo x", 7, "scheduled")
    assert (new["labels"], new["options"]) == (
        {"m": "w"},
        {"env": {"B": "3"}, "nice": 1, "rerun_of": "a"},
    )
    late = ("--set", "expires-in=1h", "--set", "delay=2h")
    assert "would expire" in queuectl("rerun", *late, "a").err
    assert queuectl("rerun", "--set", "env=C=" + "x" * 70_000, "a").code == 2
    assert len(queuectl.json("list", "--all")) == 2


def test_signal_needs_a_running_job(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl("signal", "a", "USR1") == (4, "", "queuectl: a is pending and gets no signal\n")
    queuectl.claim()
    assert queuectl.ok("signal", "a", "sigusr1") == "a processing: SIGUSR1 requested\n"
    assert queuectl.json("signal", "a", "HUP") == {"a": "processing"}
    told = 'queuectl: SIGNAL takes a signal such as USR1, not "NONE"\n'
    assert queuectl("signal", "a", "NONE") == (2, "", told)


def test_move_changes_the_order_of_claims(queuectl: QueuectlRunner) -> None:
    for name, priority in (("a", 2), ("b", 2), ("c", 0), ("d", 0)):
        queuectl.add(name, priority=priority)
    queuectl.add("other", queue="q")
    queuectl.add("later", run_at="tomorrow 9am")
    assert queuectl.ok("move", "--before", "b", "later") == "later pending\n"
    assert queuectl.ok("move", "--first", "d") == "d pending\n"
    nothing = "queuectl: nothing was moved: no other job to move d before\n"
    assert queuectl("move", "--first", "d") == (0, "d pending\n", nothing)
    assert queuectl.ok("move", "--before", "c", "a") == "a pending\n"
    refused = queuectl("move", "--before", "other", "a")
    assert refused == (4, "", "queuectl: a is in the queue default, other in q\n")
    queuectl.ok("cancel", "other")
    waits = "only a job that waits has a place in its queue\n"
    assert queuectl("move", "--first", "other") == (4, "", f"queuectl: other is cancelled; {waits}")
    assert queuectl("move", "--before", "other", "a").code == 4
    assert queuectl("move", "a").code == 2
    ids = [queuectl.claim().id for _ in range(5)]
    assert ids == ["d", "later", "b", "a", "c"]


def test_a_variable_that_is_removed_has_no_value(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    told = "queuectl: --set unset-env takes the name of a variable, not 'A=1'\n"
    assert queuectl("edit", "--set", "unset-env=A=1", "a") == (2, "", told)


def test_a_move_before_no_other_job_says_so(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", delay=3600)
    for where in (["--first"], ["--before", "a"]):
        done = queuectl("move", *where, "a")
        assert (done.code, done.out) == (0, "a scheduled\n")
        assert done.err.endswith("before; to start it at once: queuectl run-now a\n")


def test_a_rerun_or_a_wait_for_what_does_not_match_says_so(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    for verb in ("rerun", "wait"):
        done = queuectl(verb, "--queue", "nosuch")
        told = (
            "queuectl: nothing to rerun: " if verb == "rerun" else "queuectl: nothing to wait for: "
        )
        assert done == (0, "", f"{told}no job matches\n")


def test_an_empty_value_removes_an_option_or_is_refused(queuectl: QueuectlRunner) -> None:
    options: dict[str, Any] = {
        "env": {"A": "1"},
        "limits": {"files": 9},
        "timeout": 5,
        "no_retry_on": [2],
    }
    queuectl.add("a", **options, deadline="tomorrow 9am", nice=1)
    removed = [word for name in options for word in ("--set", f"{name.removesuffix('s')}=")]
    queuectl.ok("edit", *removed, "a")
    assert queuectl.json("show", "a")["options"].keys() == {"deadline", "nice"}
    told = "queuectl: --set deadline=: it cannot be removed; give another time\n"
    assert queuectl("edit", "--set", "deadline=", "a") == (2, "", told)
    for other in ("env=A=1", "unset-env=A"):
        done = queuectl("edit", "--set", "env=", "--set", other, "a")
        assert done == (2, "", "queuectl: --set removes env and changes it; give one of them\n")
