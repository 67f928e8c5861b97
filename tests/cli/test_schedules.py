"""Schedules on the command line: add, edit, list, show, next, run, pause, resume, remove."""

import json

import pytest

from tests.cli.queuectl_runner import NO_SERVICE, QueuectlRunner

SEE = " (see: queuectl schedule list)"
WARNING = f"{NO_SERVICE}\n"


def test_a_run_whose_unique_key_is_taken_adds_nothing(queuectl: QueuectlRunner) -> None:
    _add(queuectl, "--unique-key", "k", "--", "true")
    first = queuectl.json("schedule", "run", "s")
    assert first["existing"] is False
    told = f"queuectl: not added: the job {first['id']} has the unique key\n"
    done = queuectl("schedule", "run", "s")
    assert (done.code, done.out, done.err) == (0, f"{first['id']}\n", told + WARNING)
    printed = json.loads(queuectl("schedule", "run", "s", "--json").out)
    assert printed == {"id": first["id"], "existing": True}
    assert len(queuectl.json("list")) == 1


def _add(queuectl: QueuectlRunner, *words: str) -> None:
    done = queuectl("schedule", "add", "--tz", "UTC", "s", "0 3 1 1 *", *words)
    assert (done.code, done.err) == (0, WARNING)


def test_several_schedules_are_changed_at_once(queuectl: QueuectlRunner) -> None:
    for name in "ab":
        queuectl("schedule", "add", name, "@daily", "true")
    assert queuectl.ok("schedule", "pause", "a") == "a paused\n"
    done = queuectl("schedule", "pause", "a", "b")
    assert done == (0, "b paused\n", "queuectl: a is already paused\n")
    assert queuectl("schedule", "resume", "a", "nope").code == 3
    assert queuectl.ok("schedule", "resume", "a", "b") == "a resumed\nb resumed\n"
    assert queuectl.json("schedule", "remove", "a", "b") == [
        {"schedule": name, "removed": True} for name in "ab"
    ]


def test_a_list_in_a_pipe_is_aligned(queuectl: QueuectlRunner) -> None:
    queuectl("schedule", "add", "--tz", "America/Argentina/Buenos_Aires", "s", "@daily", "true")
    queuectl("schedule", "add", "--tz", "UTC", "a-long-name-of-a-schedule", "@daily", "true")
    lines = queuectl.ok("schedule", "list").splitlines()
    assert len({line.rindex(" ") for line in lines}) == 1


def test_a_schedule_from_its_start_to_its_end(queuectl: QueuectlRunner) -> None:
    _add(queuectl, "--timeout", "1h", "--env", "A=1", "--overlap", "skip", "--", "ls", "-l", "a b")
    (record,) = queuectl.json("schedule", "list")
    assert record["job"] == {"command": "ls -l 'a b'", "timeout": "1h", "env": {"A": "1"}}
    assert (record["cron"], record["tz"]) == ("0 3 1 1 *", "UTC")
    assert (record["catch_up"], record["overlap"]) == ("last", "skip")
    assert [at[4:] for at in record["next"]] == ["-01-01T03:00:00.000Z"] * 3
    heading, line = queuectl.ok("schedule", "list").splitlines()
    assert heading.split() == ["NAME", "CRON", "NEXT", "ZONE", "COMMAND"]
    assert line.endswith("ls -l 'a b'")
    assert line.count("-01-01 03:00") == 3, "a pipe has room for all times"
    queuectl.ok("schedule", "edit", "s", "--cron", "0 10 3 12 *")
    for line in queuectl("schedule", "list", COLUMNS="80").out.splitlines():
        assert len(line) <= 80
        assert "ZONE" in line or "UTC" in line
    queuectl.ok("schedule", "edit", "s", "--cron", "0 3 1 1 *")
    done = queuectl("schedule", "edit", "s", "--nice", "3", "--catch-up", "none")
    assert done.code == 0
    edited = queuectl.json("schedule", "show", "s")
    assert edited["job"] == record["job"] | {"nice": 3}
    assert (edited["catch_up"], edited["overlap"], edited["jobs"]) == ("none", "skip", [])
    name = queuectl("schedule", "run", "s").out.strip()
    job = queuectl.json("show", name)
    assert (job["schedule"], job["scheduled_at"]) == ("s", None)
    assert f"{name} pending" in queuectl.ok("schedule", "show", "s")
    assert queuectl.ok("schedule", "pause", "s") == "s paused\n"
    assert queuectl("schedule", "pause", "s") == (0, "", "queuectl: s is already paused\n")
    assert queuectl.json("schedule", "list")[0]["next"] == []
    assert "paused" in queuectl.ok("schedule", "list")
    assert queuectl.ok("schedule", "resume", "s") == "s resumed\n"
    assert queuectl("schedule", "resume", "s") == (0, "", "queuectl: s was not paused\n")
    assert queuectl.ok("complete", "schedules", "") == "s\n"
    assert queuectl.ok("schedule", "remove", "s") == "s removed\n"
    assert queuectl("schedule", "list") == (0, "", "no schedules\n")


def test_the_next_times_of_a_schedule_and_of_an_expression(queuectl: QueuectlRunner) -> None:
    _add(queuectl, "true")
    found = queuectl.ok("schedule", "next", "s", "-n", "2", "--tz", "Asia/Tokyo").splitlines()
    assert [line[4:] for line in found] == ["-01-01 03:00+09:00"] * 2
    every = ("schedule", "next", "*/5 * * * *", "--tz", "UTC")
    assert len(queuectl.ok(*every).splitlines()) == 10
    assert len(queuectl.json(*every, "-n", "3")["next"]) == 3


def test_add_replaces_only_if_asked(queuectl: QueuectlRunner) -> None:
    _add(queuectl, "--nice", "3", "true")
    done = queuectl("schedule", "add", "s", "@daily", "true")
    told = "queuectl: there is a schedule s already; give --replace to change it\n"
    assert done == (4, "", told)
    _add(queuectl, "--replace", "false")
    assert queuectl.json("schedule", "show", "s")["job"] == {"command": "false"}


def test_a_schedule_of_a_conf_file_is_changed_there(queuectl: QueuectlRunner) -> None:
    from queued.core.schedules import new_schedule

    queuectl.add("a")
    of_file = new_schedule("f", "@daily", "UTC", {"command": "true"})
    with queuectl.ledger.transaction():
        queuectl.ledger.schedules.keep_equal([of_file], "web1:/etc/queuectl.conf", now_ms=0)
    told = "f is in web1:/etc/queuectl.conf: change it there, and reload the service"
    assert queuectl("schedule", "edit", "f", "--nice", "3") == (4, "", f"queuectl: {told}\n")
    assert queuectl("schedule", "add", "--replace", "f", "@daily", "true").code == 4
    removed = queuectl("schedule", "remove", "f")
    assert (removed.code, removed.out) == (0, "f removed\n")
    assert "adds it again" in removed.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["add", "s", "@reboot", "true"], 2, "@reboot names no time"),
        (["add", "s", "* * *", "true"], 2, "not a cron expression: '* * *'"),
        (["add", "s", "@daily", "--tz", "Mars", "true"], 2, "unknown time zone 'Mars'"),
        (["add", "s", "0 0 31 2 *", "true"], 2, "not a cron expression: '0 0 31 2 *': its day of"),
        (["add", "s", "@daily", "sh", "-c", "true"], 2, "unknown option -c; if it belongs to the"),
        (["add", "a b", "@daily", "true"], 2, "name takes 1 to 64 printable characters"),
        (["add", "@last", "@daily", "true"], 2, "name must not begin with @"),
        (["add", "--overlap", "no", "s", "@daily", "true"], 2, "overlap takes one of allow, skip"),
        (["add", "--nice", "99", "s", "@daily", "true"], 2, "nice takes a whole number"),
        (["add", "--delay", "2h", "--expires-in", "1h", "s", "@daily", "true"], 2, "the job"),
        (["add", "--expires-at", "2030-01-01", "s", "@daily", "true"], 2, "expires_at takes a"),
        (["add", "--deadline", "9am UTC x", "s", "@daily", "true"], 2, "deadline takes a time of"),
        (["show", "s"], 3, f"no schedule 's'{SEE}"),
        (["edit", "s", "--nice", "3"], 3, "no schedule 's'"),
        (["edit", "s"], 2, "schedule edit needs an option that says what to change, such as"),
        (["remove", "s"], 3, f"no schedule 's'{SEE}; nothing was removed"),
        (["next", "@dayly"], 2, "not a cron expression: '@dayly'"),
    ],
)
def test_bad_input_changes_nothing(
    queuectl: QueuectlRunner, words: list[str], code: int, told: str
) -> None:
    queuectl.add("a")
    before = queuectl.dump()
    done = queuectl("schedule", *words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"queuectl: {told}")
    assert queuectl.dump() == before


def test_an_empty_value_removes_an_option_of_the_jobs(queuectl: QueuectlRunner) -> None:
    _add(queuectl, "--timeout", "1h", "--queue", "q", "--requires", "gpu", "--on-dead", "x", "true")
    removed = [f"--{name}=" for name in ("timeout", "queue", "requires", "on-dead")]
    queuectl("schedule", "edit", "s", *removed)
    assert queuectl.json("schedule", "show", "s")["job"] == {"command": "true", "on_dead": ""}
