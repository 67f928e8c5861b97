"""A host on which no service of the queue has run yet."""

from tests.hosts.conftest import Hosts, admin
from tests.service import python_env


def test_a_service_of_another_host_does_not_hinder_the_first_one_here(hosts: Hosts) -> None:
    service = hosts.add().serve()
    env = python_env() | {"STATE_DIRECTORY": str(hosts.directory / "missing")}
    listed = hosts.queue.queuectl("worker", "list", env=env)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert service.instance in listed.stdout

    start = ("worker", "start", "--background")
    again = hosts.queue.queuectl(*start, env=env)
    assert again.returncode == 4, "a service of this host runs"
    admin(hosts, "UPDATE SCHEMA.instances SET host = 'elsewhere'")
    first = hosts.queue.queuectl(*start, env=env)
    assert first.returncode == 0, first.stderr
    assert hosts.queue.queuectl("worker", "stop", env=env).returncode == 0
