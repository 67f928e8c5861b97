"""Partitions between hosts: no job runs twice at the same time, and no job is lost."""

import os
import signal
import time

import pytest

from queued.core import times
from queued.core.errors import Exit
from queued.service.ipc.scoreboard import WARDEN
from queued.service.linux import procfs
from tests.hosts.conftest import LEASE_S, Hosts
from tests.hosts.host import Host
from tests.service import Service, altered, eventually

# The command ignores TERM, so that only KILL ends it in time.
STUBBORN = "trap '' TERM; [ $QUEUED_ATTEMPT -gt 1 ] || sleep 600"


def taken_over(hosts: Hosts, name: str) -> float:
    """Waits until another host has run the job; returns the time between its two runs in s."""
    job = hosts.queue.wait(name, within_s=4 * LEASE_S)
    assert job.label == "completed"
    runs = hosts.runs(name)
    assert list(runs) == [1, 2]
    return runs[2][0] - runs[1][1]


def _fail(holder: Host, fault: str) -> None:
    """Cuts the host off, or stops or kills its processes, but not the command's."""
    service = holder.queue.services[0]
    warden = service.child(WARDEN)
    if fault in CUT:
        holder.link.cut()
        if fault == "replace":
            service.kill(service.child(0))
        return
    own = [process.pid for process in service.own() if process.pid != warden]
    for pid in own:
        os.kill(pid, signal.SIGSTOP)
    for pid in own if fault == "kill" else ():
        os.kill(pid, signal.SIGKILL)


CUT = ("cut", "replace")  # the dispatcher of the second one is replaced meanwhile
FAULTS = (*CUT, "stop", "kill")
DAY_MS = 86_400_000


def _wrong_clocks(hosts: Hosts, offset_ms: int) -> Service:
    """Adds a host whose wall clock is off, and whose clock since boot is a tenth slow."""
    offset = hosts.directory / f"offset{offset_ms}"
    offset.write_text(f"{offset_ms}")
    program = altered(f"clock={offset}", "slow_clock=0.9")
    return hosts.add().queue.spawn(workers=1, program=program).ready()


def test_a_job_is_taken_over_after_its_host_has_ended_it(hosts: Hosts) -> None:
    """Two hosts take over at the same time, and the first that does is killed before its commit."""
    services = [_wrong_clocks(hosts, 30 * sign * DAY_MS) for sign in (-12, -1, 1, 12)]
    begun_s = times.boot_s()
    hosts.traced("due", "true", delay=2)
    assert hosts.queue.wait("due").label == "completed"
    assert 2 <= hosts.runs("due")[1][0] - begun_s < 2 + LEASE_S / 3, "it is due by the server"
    (run,) = hosts.queue.attempts("due")
    age_ms = times.now_ms() - run.started_ms
    assert 0 <= age_ms < DAY_MS, "its times are those of the server, too"
    holders = {}
    for fault in FAULTS:
        hosts.traced(fault, STUBBORN)
        holders[fault] = hosts.host_of(fault)
    mark = hosts.directory / "mark"
    dies = altered(f"kill_point=take: settled, not committed|one|{mark}")
    others = [hosts.add().queue.spawn(workers=2, program=dies).ready() for _ in range(2)]
    for fault, holder in holders.items():
        _fail(holder, fault)
    for fault in FAULTS:
        assert taken_over(hosts, fault) > LEASE_S / 6
        assert [run.outcome for run in hosts.queue.attempts(fault)] == ["lost", "exit"]
    assert mark.exists()
    told = [line["dead"] for other in others for line in other.logged("instance.taken_over")]
    assert sorted(told) == sorted(service.instance for service in services)
    for fault in CUT:
        (service,) = holders[fault].queue.services
        assert service.process.poll() is None
        holders[fault].link.heal()
        assert service.ended(60) == Exit.IO  # it learns that it was taken for dead
        error = service.logged("service.failed")[0]["error"]
        assert error.startswith("another host has taken over")


def test_a_short_partition_touches_no_job(hosts: Hosts) -> None:
    services = [hosts.add().serve(workers=1) for _ in range(2)]
    hosts.traced("job", "sleep 4; echo done")
    holder = hosts.host_of("job")
    holder.link.cut()
    time.sleep(LEASE_S / 3)
    holder.link.heal()
    assert hosts.queue.wait("job", within_s=60).label == "completed"
    assert list(hosts.runs("job")) == [1]
    assert hosts.queue.output("job") == b"done\n"
    assert not any(service.logged("instance.taken_over") for service in services)


def test_a_host_that_was_cut_off_records_that_it_ended_its_run(hosts: Hosts) -> None:
    """No other host has taken over, because there is none; the interruption is not counted."""
    service = hosts.add().serve(workers=1)
    hosts.traced("job", STUBBORN)
    holder = hosts.host_of("job")
    holder.link.cut()
    command = eventually(
        lambda: [p for p in procfs.descendants(service.pid) if p.parent == service.child(1)]
    )
    eventually(lambda: not procfs.is_alive(command[0]), within_s=2 * LEASE_S)
    holder.link.heal()
    job = hosts.queue.wait("job", within_s=4 * LEASE_S)
    assert (job.label, job.attempts) == ("completed", 0)
    first = hosts.queue.attempts("job")[0]
    assert (first.outcome, first.signal) == ("interrupted", "SIGKILL")
    assert "its lease ended" in str(first.error)


@pytest.mark.parametrize("answer_only", [False, True])
def test_a_lost_commit_loses_no_job_and_doubles_none(hosts: Hosts, *, answer_only: bool) -> None:
    host = hosts.add()
    service = host.serve(workers=2)
    hosts.queue.configure("on_completed", "true")
    names = [hosts.traced(f"job{number}", "sleep 0.3") for number in range(4)]
    for number in range(4, 12):
        lost = host.link.lose_commit(answer_only=answer_only)
        names.append(hosts.traced(f"job{number}", "sleep 0.3"))
        assert lost.wait(20)
    hosts.queue.wait_all(2 * len(names))
    assert len(hosts.queue.jobs()) == 2 * len(names), "each job has one hook"
    for name in names:
        assert list(hosts.runs(name)) == [1]
        assert [run.outcome for run in hosts.queue.attempts(name)] == ["exit"]
    assert service.process.poll() is None


def test_two_hosts_share_the_jobs(hosts: Hosts) -> None:
    services = [hosts.add().serve(workers=2) for _ in range(2)]
    count = hosts.directory / "count"
    hosts.queue.add_all([f"echo {number} >> {count}; sleep 0.05" for number in range(100)])
    hosts.queue.wait_all(100)
    assert sorted(map(int, count.read_text().split())) == [*range(100)]
    assert all(len(service.logged("job.completed")) > 10 for service in services)
