"""The log says how each run ended and what becomes of its job, by an event for each case."""

from typing import Any

from tests.service import Queue, Service, eventually


def _line(service: Service, event: str, name: str) -> dict[str, Any]:
    (line,) = eventually(lambda: service.logged(event, job=name), f"{event} {name}")
    return line


def test_a_failure_says_why_and_when_the_job_runs_again_or_that_it_is_dead(queue: Queue) -> None:
    service = queue.serve()
    command = "echo no disk >&2; exit 3; : " + "x" * 300
    name = queue.add(command, id="backup", max_retries=2, backoff_max=0.1, queue="nightly")
    retrying, dead = (_line(service, f"job.{end}", name) for end in ("retrying", "dead"))
    for line in (retrying, dead):
        assert (line["queue"], line["command"]) == ("nightly", command[:200])
        assert (line["exit_code"], line["outcome"]) == (3, "exit")
        assert line["error"] == "exit 3: no disk"
        assert line["max_retries"] == 2
        assert line["ran_ms"] >= 0
    assert (retrying["level"], retrying["attempts"], retrying["state"]) == ("warning", 1, "pending")
    assert retrying["next_run_at"] > retrying["ts"]
    assert (dead["level"], dead["attempts"], dead["state"]) == ("error", 2, "dead")
    assert dead["next_run_at"] is None


def test_a_job_that_was_due_before_its_enqueue_has_not_waited_since_then(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("true", run_at="2001-01-01T00:00:00Z")
    line = _line(service, "job.completed", name)
    assert (line["level"], line["error"], line["next_run_at"]) == ("info", None, None)
    assert 0 <= line["waited_ms"] < 60_000


def test_a_cancel_a_deferral_and_a_stop_are_no_warnings(queue: Queue) -> None:
    service = queue.serve("--log-level", "info", workers=3, env={"QUEUECTL_SHUTDOWN_GRACE": "0"})
    deferred = queue.add("exit 75", defer_on=[75])
    assert _line(service, "job.deferred", deferred)["attempts"] == 0
    cancelled, interrupted = queue.add_all(["sleep 60"] * 2)
    for name in (cancelled, interrupted):
        queue.wait(name, "processing")
    queue.queuectl("cancel", cancelled)
    assert _line(service, "job.cancelled", cancelled)["signal"] == "SIGTERM"
    service.stop()
    line = _line(service, "job.interrupted", interrupted)
    assert line["next_run_at"] <= line["ts"], "due at once"
    warnings = service.logged(level="warning") + service.logged(level="error")
    assert {line["event"] for line in warnings} == {"service.stopping"}
