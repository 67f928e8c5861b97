"""A running service removes what the settings no longer keep, and wakes for it by itself."""

import json

import pytest

from tests.service import Queue, eventually

pytestmark = pytest.mark.both_engines


def test_ended_jobs_go_when_they_are_old_enough(queue: Queue) -> None:
    queue.add_all(["echo x", "true"])
    service = queue.serve()
    queue.wait_all(2)
    queue.configure("retention_completed", "50ms")
    eventually(lambda: queue.jobs() == [], "removed at once, as the setting is new")
    eventually(lambda: sum(line["completed"] for line in service.logged("jobs.pruned")) == 2)
    queue.add("echo late")
    waiting = queue.add("true", delay="1h")
    eventually(lambda: [job.id for job in queue.jobs()] == [waiting], "removed by the alarm")
    assert service.stop() == 0


@pytest.mark.sqlite_only
def test_the_pages_of_removed_jobs_are_reused(queue: Queue) -> None:
    """The file is as large as its rows want it, however many jobs there were before."""
    queue.configure("retention_completed", "1ms")
    queue.serve(workers=4)
    for _ in range(4):
        queue.add_all(["head -c 20000 /dev/zero"] * 60)
        eventually(lambda: queue.count("pending") + queue.count("processing") == 0)
        eventually(lambda: queue.jobs() == [])
    stats = json.loads(queue.queuectl("db", "stats", "--json").stdout)
    assert stats["bytes"] < 2 * 60 * 20_000, "four times as many were stored, one after the other"
