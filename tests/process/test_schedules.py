"""Schedules of a real service: firings, overlaps, the conf file, and two services at once."""

import signal
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from queued.core import times
from queued.core.schedules import new_schedule
from tests.process.foreign_sql import sql
from tests.service import Queue, Service, eventually

MINUTE = 60_000


def add(queue: Queue, command: str, *, late: int, cron: str = "* * * * *", **fields: Any) -> None:
    """Adds a schedule `s`, or replaces it, as if that had been so many minutes ago."""
    policies = {key: fields.pop(key) for key in ("catch_up", "overlap") if key in fields}
    schedule = new_schedule("s", cron, "UTC", {"command": command, **fields}, **policies)
    verbs, now_ms = queue.store.schedules, times.now_ms()
    put = verbs.edit if verbs.list() else verbs.add
    put(schedule, now_ms=now_ms - late * MINUTE)


def cron_of(minutes_ago: int) -> str:
    """Returns the expression that names the minute so many minutes ago."""
    at = datetime.fromtimestamp(times.now_ms() / 1000 - 60 * minutes_ago, UTC)
    return f"{at.minute} {at.hour} * * *"


def fired(queue: Queue, count: int) -> list[str]:
    """Waits for so many jobs; returns their ids, in order."""
    eventually(lambda: len(queue.jobs()) >= count, f"{count} jobs")
    return [job.id for job in queue.jobs()]


@pytest.mark.both_engines
def test_a_job_is_run_at_its_time_and_knows_it(queue: Queue) -> None:
    service = queue.serve()
    add(queue, "echo $QUEUED_SCHEDULE $QUEUED_SCHEDULED_AT", late=2)
    (name,) = fired(queue, 1)
    job = queue.wait(name)
    assert job.schedule == "s"
    assert job.scheduled_ms is not None
    assert queue.output(name).decode() == f"s {times.iso(job.scheduled_ms)}\n"
    (line,) = eventually(lambda: service.logged("schedule.fired", job=name))
    assert line["scheduled_at"] == times.iso(job.scheduled_ms)
    assert service.logged("schedule.missed")


def test_an_idle_service_wakes_when_a_schedule_is_due(queue: Queue) -> None:
    """At a time that its expression does not name, so that it only moves on."""
    queue.serve()
    add(queue, "true", late=0, cron=cron_of(5))
    soon = str(times.now_ms() + 700)
    sql(queue, "UPDATE schedules SET next_at = ?", soon)
    eventually(lambda: queue.store.schedules.show("s").next_ms != int(soon))
    assert times.now_ms() >= int(soon)


@pytest.mark.both_engines
def test_a_service_that_fires_no_schedules_runs_their_jobs(queue: Queue) -> None:
    service = queue.serve(env={"QUEUECTL_SCHEDULES": "false"})
    add(queue, "true", late=2)
    queue.wait(queue.add("true"))
    assert len(queue.jobs()) == 1
    other = queue.serve("--queues", "other")
    queue.wait(fired(queue, 2)[1])
    assert other.logged("schedule.fired")
    assert not service.logged("schedule.fired")


@pytest.mark.both_engines
def test_two_services_fire_each_time_once(queue: Queue) -> None:
    add(queue, "true", late=40, catch_up="all", overlap="allow")
    for service in [queue.spawn(), queue.spawn()]:
        service.ready()
    eventually(lambda: queue.count("completed") >= 40)
    found = sorted(job.scheduled_ms or 0 for job in queue.jobs())
    assert found == [found[0] + n * MINUTE for n in range(len(found))]
    assert queue.store.schedules.show("s").fired == len(found)


@pytest.mark.both_engines
def test_a_queued_firing_starts_when_the_one_before_has_ended(queue: Queue) -> None:
    queue.serve(workers=4)
    trace = queue.file("trace")
    command = f"echo + >> {trace}; sleep 0.2; echo - >> {trace}"
    add(queue, command, late=4, catch_up="all", overlap="queue")
    for name in fired(queue, 4):
        queue.wait(name)
    assert trace.read_text().split()[:8] == ["+", "-"] * 4


def test_a_firing_replaces_the_job_that_runs(queue: Queue) -> None:
    queue.serve()
    add(queue, "sleep 60", late=3, cron=cron_of(2), overlap="replace")
    (first,) = fired(queue, 1)
    queue.wait(first, "processing")
    add(queue, "true", late=2, cron=cron_of(1), overlap="replace")
    _, second = fired(queue, 2)
    assert queue.wait(first).label == "cancelled"
    assert queue.wait(second).label == "completed"


def reloaded(service: Service, event: str) -> dict[str, Any]:
    before = len(service.logged(event))
    service.process.send_signal(signal.SIGHUP)
    return eventually(lambda: service.logged(event)[before:])[0]


def names(queue: Queue) -> list[str]:
    return [schedule.name for schedule in queue.store.schedules.list()]


def table(name: str, rest: str = "command = 'true'") -> str:
    return f"[[schedule]]\nname = '{name}'\ncron = '@daily'\ntz = 'UTC'\n{rest}\n"


@pytest.mark.both_engines
def test_the_schedules_of_the_conf_file_follow_it(queue: Queue, tmp_path: Path) -> None:
    conf = tmp_path / "queuectl.conf"
    write = partial(conf.write_text, encoding="utf-8")
    add(queue, "true", late=0)
    write("kill_grace = 5\n" + table("a") + table("b", "command = 'x'\ntimeout = '1h'"))
    service = queue.serve("--config", str(conf))
    assert names(queue) == ["a", "b", "s"]
    write(table("a", "command = 'false'") + table("s"))
    reloaded(service, "reload.finished")
    assert names(queue) == ["a", "s"]
    assert queue.store.schedules.show("a").job == '{"command": "false"}'
    (applied, again) = service.logged("schedules.applied")
    assert (applied["added"], again["changed"], again["removed"]) == (["a", "b"], ["a"], ["b"])
    (conflict,) = service.logged("schedule.not_applied")
    assert conflict["schedule"] == "s"
    write("kill_grace = 9\n" + table("c", "comand = 'true'"))
    refused = reloaded(service, "reload.refused")
    assert "schedule 'c': unknown field 'comand'" in refused["error"]
    assert names(queue) == ["a", "s"]
    assert not service.logged("settings.applied", kill_grace=9.0)
    dispatcher = service.child(0)
    queue.store.schedules.remove("a")
    service.kill(dispatcher)
    service.replaced(0, dispatcher)
    queue.wait(queue.add("true"))
    assert names(queue) == ["s"], "the file is read at the start and at a reload only"
    service.stop()
    another = queue.spawn("--config", str(conf))
    assert another.ended() == 78
    assert "unknown field 'comand'" in another.log_path.read_text()


def test_a_wrong_schedule_in_the_file_refuses_the_start(queue: Queue, tmp_path: Path) -> None:
    conf = tmp_path / "queuectl.conf"
    for text, told in {
        table("a") + table("a"): "schedule 'a': the name is given twice",
        "schedule = 3": "schedules are tables that begin with [[schedule]]",
        table("a", "command = 'x'\nid = 'y'"): "takes no id",
        "[[schedule]]\ncron = '@daily'\ncommand = 'x'": "name is missing",
        table("a", "comand = 'x'"): "unknown field 'comand'; did you mean 'command'?",
        table("a", "command = 'x'\noverlap = 'no'"): "one of allow, skip, queue, replace",
    }.items():
        conf.write_text(text)
        done = queue.queuectl("--config", str(conf), "worker", "start")
        assert (done.returncode, done.stdout) == (78, "")
        assert told in done.stderr
