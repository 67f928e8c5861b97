"""The commands queue list, show, set, pause, resume, drain, clear and remove."""

import json
import re
from typing import Any

import pytest

from queued.core import times
from queued.core.times import parse_when
from tests.cli.queuectl_runner import NO_SERVICE, QueuectlRunner


def _without_age(queue: dict[str, Any]) -> dict[str, Any]:
    assert queue.pop("oldest_age") >= 0
    return queue


def test_a_queue_is_set_paused_and_resumed(queuectl: QueuectlRunner) -> None:
    words = "queue set mail --concurrency 2 --priority 5 --weight 3 --default timeout=5m"
    assert queuectl.json(*words.split())["defaults"] == {"timeout": 300.0}
    queuectl.ok("queue", "set", "mail", "--default", "timeout=", "--default", "nice=7")
    queuectl.add("a", queue="mail")
    assert queuectl.ok("queue", "list").splitlines() == [
        "QUEUE             STATE      PENDING    RUNNING  PRIORITY  WEIGHT  REASON",
        "default           open             0          0         0       1",
        "mail              open             1        0/2         5       3",
    ]
    assert queuectl.ok("queue", "pause", "mail", "--reason", "relay down") == "mail paused\n"
    shown = _without_age(queuectl.json("queue", "show", "mail"))
    assert (shown["state"], shown["paused_reason"]) == ("paused", "relay down")
    assert (shown["concurrency"], shown["defaults"]) == (2, {"nice": 7})
    assert shown["paused_by"]
    already = (0, "", "queuectl: mail is already paused\n")
    assert queuectl("queue", "pause", "mail") == already
    assert _without_age(queuectl.json("queue", "show", "mail")) == shown
    assert queuectl.ok("queue", "pause", "mail", "--reason", "moved") == "mail paused\n"
    moved = _without_age(queuectl.json("queue", "show", "mail"))
    assert moved == shown | {"paused_reason": "moved"}
    queuectl.ok("queue", "pause", "mail", "--reason", "relay down")
    why = "queue mail is paused: relay down"
    assert f"state         pending ({why})" in queuectl.ok("show", "a")
    assert queuectl.json("status")["waiting_reasons"] == [why]
    assert queuectl.ok("queue", "resume", "mail") == "mail resumed\n"
    told = "queuectl: mail was neither paused nor draining\n"
    assert queuectl("queue", "resume", "mail") == (0, "", told)
    queuectl.claim()
    queuectl.add("b", queue="mail")
    queuectl.ok("queue", "set", "mail", "--concurrency", "1")
    assert "(queue mail is full: 1 of 1 places are in use)" in queuectl.ok("show", "b")
    queuectl.ok("queue", "set", "mail", "--concurrency", "0")
    assert "(queue mail starts no jobs (concurrency 0))" in queuectl.ok("show", "b")
    assert re.search(r"mail +full +1 +1/0 ", queuectl.ok("queue", "list")), "a job still runs"
    assert "mail still runs: cancel or wait" in queuectl("queue", "remove", "mail", "--yes").err
    queuectl.ok("queue", "set", "mail", "--concurrency", "unlimited")
    assert queuectl.json("queue", "show", "mail")["concurrency"] is None


def test_a_rate_is_set_shown_and_removed(queuectl: QueuectlRunner) -> None:
    shown = queuectl.json("queue", "set", "mail", "--rate", "2/hour")
    assert (shown["rate"], shown["starts_left"], shown["next_start_at"]) == ("2/hour", 2, None)
    for name in "abc":
        queuectl.add(name, queue="mail")
    queuectl.claim()
    assert re.search(r"mail +open +2 +1 +0 +1  2/hour, 1 left\n", queuectl.ok("queue", "list"))
    queuectl.claim()
    (shown,) = queuectl.json("queue", "list", "mail")
    assert (shown["state"], shown["starts_left"]) == ("full", 0)
    left_s = parse_when(shown["next_start_at"]) / 1000 - times.now_ms() / 1000
    assert 3000 < left_s < 3610
    assert re.search(
        r"rate +2/hour, next start at \d\d:\d\d:\d\d\n", queuectl.ok("queue", "show", "mail")
    )
    why = r"queue mail has reached its rate 2/hour: next start at \d\d:\d\d:\d\d"
    assert re.search(rf"pending \({why}\)", queuectl.ok("show", "c"))
    assert re.fullmatch(why, queuectl.json("list", "c")[0]["blocked"])
    assert re.fullmatch(why, *queuectl.json("status")["waiting_reasons"])
    shown = queuectl.json("queue", "set", "mail", "--rate", "unlimited")
    assert (shown["rate"], shown["starts_left"], shown["state"]) == (None, None, "open")


def test_a_suspended_queue_is_told_of_each_running_job(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", queue="mail")
    queuectl.claim()
    queuectl.ok("queue", "pause", "mail")
    assert queuectl.json("queue", "pause", "mail", "--suspend")["state"] == "suspended"
    assert "processing (suspended)" in queuectl.ok("show", "a")
    assert queuectl.json("list", "a")[0]["blocked"] == "suspended"
    assert queuectl.json("status")["suspended"] == 1
    shown = queuectl.json("queue", "resume", "mail")
    assert (shown["state"], shown["suspended_at"]) == ("open", None)
    assert queuectl.json("status")["suspended"] == 0


def test_a_queue_has_a_note(queuectl: QueuectlRunner) -> None:
    assert queuectl.json("queue", "set", "mail", "--note", "for ops")["note"] == "for ops"
    assert queuectl.json("queue", "set", "mail", "--weight", "2")["note"] == "for ops"
    assert re.search(r"note +for ops\n", queuectl.ok("queue", "show", "mail"))
    assert queuectl.json("queue", "set", "mail", "--note", "")["note"] is None
    for words in (("set", "mail", "--note"), ("pause", "mail", "--reason")):
        for text in ("a\nb", "x" * 1001):
            done = queuectl("queue", *words, text)
            assert done.code == 2
            assert f"{words[2]} takes a text of at most 1000 printable characters" in done.err


def test_a_draining_queue_refuses_new_jobs(queuectl: QueuectlRunner) -> None:
    queuectl.ok("queue", "set", "mail", "--weight", "1")
    assert queuectl.ok("queue", "drain", "mail") == "mail draining\n"
    since = queuectl.json("queue", "show", "mail")
    told = "queuectl: mail is already draining\n"
    assert queuectl("queue", "drain", "mail") == (0, "", told)
    assert queuectl.json("queue", "show", "mail") == since
    done = queuectl("enqueue", "--queue", "mail", "true")
    told = "the queue mail is draining and takes no new jobs; nothing was changed"
    assert done == (4, "", f"queuectl: {told} (see: queuectl queue resume mail)\n")
    queuectl.ok("queue", "resume", "mail")
    assert queuectl("enqueue", "--queue", "mail", "--id", "a", "true").out == "a\n"
    queuectl.ok("queue", "drain", "mail")
    queuectl.ok("queue", "pause", "mail", "--reason", "moved")
    assert "moved; takes no new jobs\n" in queuectl.ok("queue", "list")


def test_several_queues_are_paused_and_resumed_at_once(queuectl: QueuectlRunner) -> None:
    def states() -> dict[str, str]:
        return {one["name"]: one["state"] for one in queuectl.json("queue", "list")}

    queuectl.add("a", queue="web")
    done = queuectl("queue", "pause", "mail", "video", "webb")
    new = [f"queuectl: {name} has no job yet" for name in ("mail", "video", "webb")]
    said = "\n".join(new) + "; did you mean 'web'?\n"
    assert done == (0, "mail paused\nvideo paused\nwebb paused\n", said)
    queuectl.ok("queue", "remove", "webb")
    assert queuectl.ok("queue", "pause", "--all") == "default paused\nweb paused\n"
    assert set(states().values()) == {"paused"}
    done = queuectl("queue", "resume", "web", "nope")
    assert (done.code, states()["web"]) == (3, "paused")
    assert queuectl.ok("queue", "resume", "web", "mail") == "web resumed\nmail resumed\n"
    assert [one["state"] for one in queuectl.json("queue", "resume", "--all")] == ["open"] * 4
    told = "queuectl: no queue was changed\n"
    assert queuectl("queue", "resume", "-a") == (0, "", told)
    assert queuectl.ok("queue", "drain", "-a").splitlines()[0] == "default draining"
    for words in (["pause"], ["drain", "-a", "mail"]):
        done = queuectl("queue", *words)
        told = f"which queues to {words[0]}? give either names or --all"
        assert done == (2, "", f"queuectl: {told}\n")


def test_queues_are_listed_by_patterns(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl("queue", "pause", "mail", "mail-slow", "web")

    def names(*words: str) -> list[str]:
        shown = json.loads(queuectl.ok("queue", "list", "--json", *words))
        return [one["name"] for one in shown]

    assert "mail              \x1b[33mpaused\x1b[m" in queuectl.ok(
        "queue", "list", "--color=always"
    )
    assert names("mail*", "nope") == ["mail", "mail-slow"]
    assert names("--", "-mail*") == ["default", "web"]
    assert names("-n", "1", "--", "-default", "mail*") == ["mail"]


def test_what_destroys_jobs_counts_them_first(queuectl: QueuectlRunner) -> None:
    queuectl.run("done", queue="mail")
    for name in "ab":
        queuectl.add(name, queue="mail")
    refused = "queuectl: 2 jobs of mail wait; to cancel them, add --yes\n"
    assert queuectl("queue", "clear", "mail") == (2, "", refused)
    told = "2 jobs would be cancelled; nothing was changed\n"
    assert queuectl("queue", "clear", "mail", "--dry-run") == (0, "a\nb\n", told)
    assert queuectl("queue", "clear", "mail", "--yes").out == "2 jobs cancelled\n"
    assert queuectl("queue", "clear", "mail").out == "0 jobs cancelled\n"
    assert queuectl.json("show", "a")["state"] == "cancelled"
    queuectl.add("c", queue="mail")
    assert "1 job of mail waits; to cancel it, add" in queuectl("queue", "clear", "mail").err
    claim = queuectl.claim()
    assert queuectl("queue", "remove", "mail", "--yes").code == 4
    queuectl.end(claim)
    refused = "mail has 4 jobs; to delete them, too, add --yes"
    assert queuectl("queue", "remove", "mail") == (2, "", f"queuectl: {refused}\n")
    found = queuectl.json("queue", "remove", "mail", "--dry-run", "--yes")
    assert (found["dry_run"], found["ids"][1:]) == (True, ["a", "b", "c"])
    assert queuectl.ok("queue", "remove", "mail", "--yes") == "mail removed with 4 jobs\n"
    assert queuectl.json("list") == []
    assert [one["name"] for one in queuectl.json("queue", "list")] == ["default"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("show nope", 3, "no queue 'nope' (see: queuectl queue list)"),
        ("set mail", 2, "give what to set: --concurrency, --rate, --priority, --weight,"),
        ("set mail --rate 10", 2, "a rate is N/TIME with 1 to 100000 starts and 1s to 1d, such"),
        ("set mail --concurrency x", 2, "--concurrency takes a whole number from 0"),
        ("set mail --default queue=x", 2, "a queue has no default for 'queue'; see the retry,"),
        ("set mail --default nice", 2, "--default takes FIELD=VALUE, such as timeout=5m"),
        ("set mail --default nice=x", 2, "nice takes a whole number from -20 to 19"),
        ("set a,b --weight 1", 2, "QUEUE must not contain a comma or *: 'a,b'"),
        ("pause a*", 2, "QUEUE must not contain a comma or *: 'a*'"),
        ("set a/b --weight 1", 2, "QUEUE takes 1 to 64 printable characters"),
        ("remove default", 2, "the queue default cannot be removed"),
    ],
)
def test_bad_input_changes_nothing(
    queuectl: QueuectlRunner, words: str, code: int, told: str
) -> None:
    queuectl.add("first")
    done = queuectl("queue", *words.split())
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"queuectl: {told}")
    assert queuectl.json("queue", "list")[1:] == []


def test_slots_are_given_and_shown(queuectl: QueuectlRunner) -> None:
    assert queuectl("enqueue", "--id", "a", "--slots", "3", "true") == (
        *(0, "a\n", f"{NO_SERVICE}\n"),
    )
    assert queuectl.json("show", "a")["slots"] == 3


def test_defaults_take_the_words_of_options(queuectl: QueuectlRunner) -> None:
    words = ("--default", "no-retry-on=2,3", "--default", "defer_on=75")
    shown = queuectl.json("queue", "set", "mail", *words)
    assert shown["defaults"] == {"no_retry_on": [2, 3], "defer_on": [75]}
