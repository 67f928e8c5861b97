"""Queues of real services: limits that the commands themselves prove, pauses, and fair shares."""

from itertools import accumulate, pairwise
from pathlib import Path

import pytest

from tests.service import Queue, eventually

pytestmark = pytest.mark.both_engines


def test_a_limit_over_two_services_is_never_exceeded(queue: Queue, tmp_path: Path) -> None:
    """Each command appends a line to a file when it begins and when it ends."""
    trace = tmp_path / "trace"
    queue.store.queues.change("mail", concurrency=2)
    for number in range(30):
        slots = 2 if number % 10 == 9 else 1
        line = f"echo {{}}{slots} >> {trace}"
        command = f"{line.format('')}; sleep 0.05; {line.format('-')}"
        queue.add(command, id=f"m{number}", queue="mail", slots=slots)
        queue.add("true", id=f"f{number}")
    for _ in range(2):
        queue.serve(workers=4)
    for number in range(30):
        queue.wait(f"m{number}", "completed")
        queue.wait(f"f{number}", "completed")
    running = list(accumulate(int(line) for line in trace.read_text().splitlines()))
    assert len(running) == 60
    assert max(running) == 2
    assert running.count(2) > 10


def test_a_rate_over_two_services_holds_in_every_interval(queue: Queue, tmp_path: Path) -> None:
    """Each command appends the time at which it begins, which may be late by some tenths."""
    trace = tmp_path / "trace"
    queue.store.queues.change("mail", rate_starts=4, rate_ms=2000)
    for number in range(13):
        queue.add(f"date +%s.%N >> {trace}", id=f"m{number}", queue="mail")
        queue.add("true", id=f"f{number}")
    for _ in range(2):
        queue.serve(workers=4)
    for number in range(13):
        queue.wait(f"m{number}", "completed")
        queue.wait(f"f{number}", "completed")
    began = sorted(map(float, trace.read_text().split()))
    assert len(began) == 13
    assert min(later - first for first, later in zip(began, began[4:], strict=False)) > 1.5
    assert began[-1] - began[0] < 6 + 3, "idle services wake when the next start is allowed"


def test_a_rate_of_a_key_over_two_services_holds_in_every_interval(
    queue: Queue, tmp_path: Path
) -> None:
    """Also for workers that fetch quick jobs in advance; and one service dies meanwhile."""
    trace = tmp_path / "trace"
    for number in range(14):
        rated = {"key": "api", "key_rate": "4/2s", "queue": f"q{number % 2}"}
        queue.add(f"date +%s.%N >> {trace}; sleep 0.05", id=f"k{number}", **rated)
        queue.add_all(["true"] * 20)
    first, _ = (queue.serve(workers=3) for _ in range(2))
    queue.wait("k1", "completed")
    first.kill_instance()
    for number in range(14):
        queue.wait(f"k{number}", "completed")
    began = sorted(map(float, trace.read_text().split()))
    assert len(began) >= 14, "a run that was lost began, too"
    assert min(later - first for first, later in zip(began, began[4:], strict=False)) > 1.5
    assert began[-1] - began[0] < 2 * (len(began) - 1) / 4 + 3, "idle services wake in time"


def test_jobs_of_a_key_over_two_services_run_one_at_a_time_in_order(
    queue: Queue, tmp_path: Path
) -> None:
    """Also while one of the services dies with all its processes."""
    trace = tmp_path / "trace"
    for number in range(24):
        command = f"echo {number} >> {trace}; sleep 0.03; echo end >> {trace}"
        queue.add(command, id=f"k{number}", key="customer-7")
        queue.add("true", id=f"f{number}")
    first, _ = (queue.serve(workers=4) for _ in range(2))
    queue.wait("k5", "completed")
    first.kill_instance()
    for number in range(24):
        queue.wait(f"k{number}", "completed")
    lines = trace.read_text().split()
    begun = [int(line) for line in lines if line != "end"]
    assert sorted({*begun}) == list(range(24))
    lost = {number for number in begun if begun.count(number) > 1}  # they wait for a retry
    others = [number for number in begun if number not in lost]
    assert len(lost) <= 1
    assert others == sorted(others)
    for one, other in pairwise(lines):
        assert "end" in {one, other} or int(one) in lost, "a run that was lost has no end"


def test_a_paused_queue_starts_nothing_and_lets_its_jobs_end(queue: Queue) -> None:
    service = queue.serve(workers=4)
    queue.add("sleep 1", id="runs", queue="mail")
    queue.wait("runs", "processing")
    queue.store.queues.change("mail", paused_ms=1, paused_by="ann", paused_reason="relay down")
    eventually(lambda: service.logged("queue.paused"), "the pause is logged")
    queue.add("true", id="waits", queue="mail")
    queue.wait(queue.add("true"), "completed")
    queue.wait("runs", "completed")
    assert queue.job("waits").state == "pending"
    (line,) = service.logged("queue.paused")
    assert (line["queue"], line["by"], line["reason"]) == ("mail", "ann", "relay down")
    queue.store.queues.change("mail", paused_ms=None)
    queue.wait("waits", "completed")


def test_two_queues_share_the_starts_by_weight(queue: Queue, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    queue.store.queues.change("a", weight=3)
    for number in range(40):
        for name in "ba":
            queue.add(f"echo {name} >> {trace}", id=f"{name}{number}", queue=name)
    queue.serve(workers=1)
    for number in range(40):
        queue.wait(f"b{number}", "completed")
    started = trace.read_text().split()[:40]
    assert 28 <= started.count("a") <= 32


def test_a_service_serves_only_its_queues(queue: Queue) -> None:
    for name in "abc":
        queue.add("true", id=name, queue=name)
    queue.add("true", id="slow", queue="ab")
    first = queue.serve("--queues", "a*, c, -ab")
    queue.wait("a", "completed")
    queue.wait("c", "completed")
    assert queue.job("b").state == queue.job("slow").state == "pending"
    first.stop()
    queue.serve()
    queue.wait("b", "completed")
