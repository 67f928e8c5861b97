"""The suspension of a queue with runs on several hosts, of which one dies meanwhile."""

from queued.core import times
from queued.service.ipc.scoreboard import WARDEN
from tests.hosts.conftest import LEASE_S, Hosts
from tests.service import Service, alive, eventually, states_of


def _commands(service: Service) -> list[int]:
    """Returns the pids of the living processes of the runs."""
    own = {process.pid for process in service.own()}
    return [pid for pid in service.descendants() if pid not in own]


def _suspend(hosts: Hosts, at_ms: int | None) -> None:
    hosts.queue.store.queues.change("mail", paused_ms=at_ms, suspended_ms=at_ms)


def _beats(hosts: Hosts, name: str, since_s: float, until_s: float) -> list[str]:
    """Returns the lines of the trace between two times since boot."""
    lines = hosts.trace(name).read_text().splitlines()
    return [line for line in lines if since_s < float(line.split()[1]) < until_s]


def test_the_runs_of_a_suspended_queue_are_frozen_on_all_hosts_until_a_host_dies(
    hosts: Hosts,
) -> None:
    services = {}
    for name in ("lives", "dies"):  # each host gets the next job, because the others have no place
        services[name] = hosts.add().serve(workers=1)
        hosts.traced(name, "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 8", queue="mail", timeout=14)
        hosts.host_of(name)
    _suspend(hosts, times.now_ms())
    frozen = {name: _commands(service) for name, service in services.items()}
    assert all(len(pids) >= 3 for pids in frozen.values())
    for pids in frozen.values():
        eventually(lambda pids=pids: states_of(pids) == {"T"})  # type: ignore[misc]
    frozen_s = times.boot_s()

    dead = services["dies"]
    dead.kill_instance(spared=dead.child(WARDEN))
    eventually(lambda: not any(map(alive, frozen["dies"])), "the warden kills frozen processes")
    eventually(lambda: services["lives"].logged("instance.taken_over"), within_s=4 * LEASE_S)
    assert hosts.queue.wait("dies", "failed", "pending").attempts == 1
    assert states_of(frozen["lives"]) == {"T"}
    resumed_s = times.boot_s()
    _suspend(hosts, None)

    for name, outcomes in (("lives", ["exit"]), ("dies", ["lost", "exit"])):
        assert hosts.queue.wait(name).label == "completed"
        assert [run.outcome for run in hosts.queue.attempts(name)] == outcomes
        assert list(hosts.runs(name)) == [*range(1, len(outcomes) + 1)]
        assert not _beats(hosts, name, frozen_s, resumed_s)
