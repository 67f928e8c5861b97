"""What an idle service asks of the server."""

from tests.hosts.conftest import LEASE_S, Hosts, admin
from tests.service import Service, eventually


def _after_renewals(hosts: Hosts, service: Service, count: int) -> None:
    """Waits until the service has renewed its lease so many times."""

    def beat() -> int:
        return next(one.beat for one in hosts.queue.store.instances() if one.id == service.instance)

    first = beat()
    eventually(lambda: beat() >= first + count)


def test_an_idle_service_starts_a_job_before_its_next_renewal(hosts: Hosts) -> None:
    hosts.queue.configure("lease", "120")
    service = hosts.add().serve(workers=1)
    _after_renewals(hosts, service, 2)
    hosts.queue.wait(hosts.queue.add("true"), within_s=6)


def test_an_idle_service_makes_one_statement_for_each_renewal(hosts: Hosts) -> None:
    """The renewals of other hosts make no turn necessary, but a change without a notification.

    Nor does a ready job whose queue may start none for a day.
    """
    hosts.queue.store.queues.change("slow", rate_starts=1, rate_ms=86_400_000)
    host = hosts.add()
    service = host.serve(workers=1)
    hosts.add().serve(workers=1)
    hosts.queue.wait(hosts.queue.add("true", queue="slow"))
    waits = hosts.queue.add("true", queue="slow")
    _after_renewals(hosts, service, 3)
    before = host.link.requests
    _after_renewals(hosts, service, 3)
    assert 2 <= host.link.requests - before <= 4
    assert hosts.queue.job(waits).label == "pending"
    admin(hosts, "INSERT INTO SCHEMA.settings VALUES ('kill_grace', '3', 0)")
    eventually(lambda: service.logged("settings.applied"), within_s=LEASE_S / 3)
