"""A running service removes what the settings no longer keep, and wakes for it by itself."""

from queued.core import times
from tests.service import Queue, eventually


def test_ended_jobs_go_when_they_are_old_enough(queue: Queue) -> None:
    queue.add_all(["echo x", "true"])
    service = queue.serve()
    queue.wait_all(2)
    queue.store.config_set("retention_completed", "50ms", now_ms=times.now_ms())
    eventually(lambda: queue.jobs() == [], "removed at once, as the setting is new")
    eventually(lambda: sum(line["completed"] for line in service.logged("jobs.pruned")) == 2)
    queue.add("echo late")
    waiting = queue.add("true", delay="1h")
    eventually(lambda: [job.id for job in queue.jobs()] == [waiting], "removed by the alarm")
    assert service.stop() == 0
