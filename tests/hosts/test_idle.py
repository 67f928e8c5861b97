"""What an idle service asks of the server."""

from tests.hosts.conftest import LEASE_S, Hosts, admin
from tests.service import Service, eventually


def _after_renewals(hosts: Hosts, service: Service, count: int) -> None:
    """Waits until the service has renewed its lease so many times."""

    def beat() -> int:
        return next(one.beat for one in hosts.queue.store.instances() if one.id == service.instance)

    first = beat()
    eventually(lambda: beat() >= first + count)


def test_an_idle_service_makes_one_statement_for_each_renewal(hosts: Hosts) -> None:
    """The renewals of other hosts make no turn necessary, but a change without a notification."""
    host = hosts.add()
    service = host.serve(workers=1)
    hosts.add().serve(workers=1)
    hosts.queue.wait(hosts.queue.add("true"))
    _after_renewals(hosts, service, 3)
    before = host.link.requests
    _after_renewals(hosts, service, 3)
    assert 2 <= host.link.requests - before <= 4
    admin(hosts, "INSERT INTO SCHEMA.settings VALUES ('kill_grace', '3', 0)")
    eventually(lambda: service.logged("settings.applied"), within_s=LEASE_S / 3)
