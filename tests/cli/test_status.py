"""status: counts for people and programs, and a check for monitoring."""

import os

import pytest

from queued.core.times import now_ms
from tests.cli.queuectl_runner import NO_SERVICE, QueuectlRunner, failed

pytestmark = pytest.mark.both_engines


@pytest.fixture
def full(queuectl: QueuectlRunner) -> QueuectlRunner:
    """A job of each kind, in two queues."""
    queuectl.run("done")
    queuectl.run("wrong", failed(1))
    queuectl.run("gone", failed(1), max_retries=1, queue="night")
    queuectl.add("running")
    queuectl.claim()
    queuectl.add("later", delay=7200)
    queuectl.add("ready")
    queuectl.add("not-wanted", queue="night")
    queuectl.ok("cancel", "not-wanted")
    return queuectl


def test_status(full: QueuectlRunner) -> None:
    done = full("status")
    assert (done.code, done.err) == (0, f"{NO_SERVICE}\n")
    lines = done.out.splitlines()
    assert lines.pop(8).startswith("oldest ready")
    assert lines == [
        "pending             3  in all, of which",
        "  scheduled         1  are not due yet",
        "  failed            1  wait for a retry",
        "processing          1",
        "completed           1  1 in the last minute",
        "dead                1",
        "cancelled           1",
        "workers             0",
        "",
        "   PENDING  PROCESSING   COMPLETED        DEAD   CANCELLED  QUEUE",
        "         3           1           1           0           0  default",
        "         0           0           0           1           1  night",
    ]


def test_status_shows_the_limits_of_queues(full: QueuectlRunner) -> None:
    full.ok("queue", "set", "default", "--concurrency", "20", "--weight", "2")
    assert full.ok("status").splitlines()[-2:] == [
        "         3        1/20           1           0           0  default",
        "         0           0           0           1           1  night",
    ]


def test_status_json(full: QueuectlRunner) -> None:
    status = full.json("status")
    assert 0 <= status.pop("oldest_age") < 60
    queues = status.pop("queues")
    assert status == {
        "pending": 3,
        "scheduled": 1,
        "failed": 1,
        "processing": 1,
        "completed": 1,
        "dead": 1,
        "cancelled": 1,
        "suspended": 0,
        "completed_last_minute": 1,
        "workers": 0,
        "instances": 0,
        "waiting_reasons": [],
        "held": 0,
        "blocked": 0,
    }
    assert queues["night"]["dead"] == 1
    assert {label: sum(queue[label] for queue in queues.values()) for label in queues["night"]} == {
        label: status[label] for label in queues["night"]
    }


def test_status_of_nothing(queuectl: QueuectlRunner) -> None:
    queuectl.ok("config", "set", "workers", "2")
    status = queuectl.json("status")
    assert (status.pop("oldest_age"), status.pop("queues")) == (None, {})
    assert status.pop("waiting_reasons") == []
    assert set(status.values()) == {0}
    assert len(queuectl.ok("status").splitlines()) == 8


def test_a_check_fails_without_a_service_or_if_a_job_waits_too_long(full: QueuectlRunner) -> None:
    check = ("status", "--check")
    assert full(*check) == (1, f"no service runs on {full.engine.name}\n", "")
    lock = full.register("i")
    with full.ledger.transaction():
        full.ledger.worker_started("i", 1, 2, now_ms=now_ms())
    try:
        assert full.ok(*check).startswith(
            "ok: 1 worker in 1 service; the oldest ready job has been"
        )
        assert full(*check, "--max-age", "1h").code == 0
        late = full(*check, "--max-age", "1ms")
        assert (late.code, late.err) == (1, "")
        assert late.out.startswith("the oldest ready job has been waiting ")
        assert late.out.endswith("s, more than 0.0s\n")
        full.ok("cancel", "ready")
        assert full.ok(*check, "--max-age", "1ms").endswith("; no job is ready and waiting\n")
        assert full.json(*check)["fault"] is None
    finally:
        os.close(lock)


def test_a_limit_without_a_check_is_refused(full: QueuectlRunner) -> None:
    done = full("status", "--max-age", "5m")
    assert (done.code, done.out) == (2, "")
    assert done.err == "queuectl: --max-age is the limit of --check; give both\n"
