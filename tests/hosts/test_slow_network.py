"""A slow network between a host and the server costs time by the round trip, and nothing else."""

import random

from tests.hosts.conftest import Hosts

JOBS = 40
TRIPS = 8  # of a job at most, with those of turns that find nothing
DELAYS_S = {"0.5 ms": (0.0005, 0.0005), "5 ms": (0.005, 0.005), "jitter": (0.0, 0.1)}


def test_a_job_costs_a_bounded_number_of_round_trips(hosts: Hosts) -> None:
    """So the rate is that of the round trips; also with jitter no job is lost or run twice."""
    host = hosts.add()
    service = host.serve(workers=4)
    dice = random.Random(4)
    for done, (name, (least_s, most_s)) in enumerate(DELAYS_S.items(), 1):
        host.link.delay_s = lambda least_s=least_s, most_s=most_s: dice.uniform(least_s, most_s)  # type: ignore[misc]
        before = host.link.requests
        count = hosts.directory / name.replace(" ", "")
        hosts.queue.add_all([f"echo {number} >> {count}" for number in range(JOBS)])
        hosts.queue.wait_all(done * JOBS)
        trips = host.link.requests - before
        assert trips <= TRIPS * JOBS
        assert sorted(map(int, count.read_text().split())) == [*range(JOBS)]
    assert all(len(hosts.queue.attempts(job.id)) == 1 for job in hosts.queue.jobs())
    assert not service.logged("database.refused")
