"""The commands host list, drain and resume."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from queued.core import labels
from queued.core.errors import Exit, NotFoundError
from queued.core.model import Instance
from queued.core.records import WorkerStatus
from queued.core.times import now_ms, short_duration
from queued.ctl.arguments import COMMON, WATCH_OPTION, Arguments
from queued.ctl.context import Context
from queued.ctl.live_services import may_live, say_no_service
from queued.ctl.render import print_change, print_json, print_out
from queued.ctl.table import Column, heading, row_lines, table_width, widened

LIST = (
    """\
Usage: queuectl host list [options]

Lists the hosts of this database, with a line for each service. STATE is
serving, drained, stopping, or lost: the service is dead or out of reach, and
another one will take over its jobs. RENEWED is how long ago it renewed its
lease, which only services over PostgreSQL have.

Options:
"""
    + WATCH_OPTION
    + COMMON
    + """
Examples:
  queuectl host list
  queuectl host list --json
"""
)

COLUMNS = (
    Column("HOST", 10),
    Column("STATE", 8),
    Column("SERVICE", 13),
    Column("VERSION", 7),
    Column("WORKERS", 7, right=True),
    Column("RENEWED", 7, right=True),
    Column("LABELS", 6),
    Column("RUNNING", 0),
)


class _Host(NamedTuple):
    """A host with a registered service, or one that is drained."""

    name: str
    drained_ms: int | None
    services: list[Instance]


def list_(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Prints the hosts and their services."""
    hosts, workers = _hosts(context), list(context.store.workers())
    if context.json:
        from queued.ctl.json_records import host_record

        print_json([host_record(*host, workers) for host in hosts])
    elif hosts:
        width = table_width()
        rows = [cells for host in hosts for cells in _cells(context, host, workers)]
        columns = widened(COLUMNS, rows, width)
        print_out(heading(columns, width))
        for cells in rows:
            print_out("\n".join(row_lines(columns, cells, width)))
    else:
        say_no_service(context)
    return Exit.DONE


def _hosts(context: Context) -> list[_Host]:
    drained = context.store.drained_hosts()
    services: dict[str, list[Instance]] = {name: [] for name in drained}
    for instance in context.store.instances():
        services.setdefault(instance.host, []).append(instance)
    return [_Host(name, drained.get(name), services[name]) for name in sorted(services)]


def _cells(
    context: Context, host: _Host, workers: Sequence[WorkerStatus]
) -> Iterator[tuple[str, ...]]:
    for service in host.services:
        own = [worker for worker in workers if worker.instance == service.id]
        yield (
            host.name,
            _state(context, host, service),
            service.id,
            service.version,
            str(len(own)),
            short_duration(service.silent_s) if service.lease_s else "-",
            ",".join(sorted(labels.split(service.labels) - {labels.of_host(host.name)})) or "-",
            ", ".join(worker.job for worker in own if worker.job) or "-",
        )
    if not host.services:
        yield (host.name, "drained", "-", "-", "-", "-", "-", "-")


def _state(context: Context, host: _Host, service: Instance) -> str:
    if not may_live(context, service):
        return "lost"
    if service.stop_requested_ms is not None:
        return "stopping"
    return "serving" if host.drained_ms is None else "drained"


DRAIN = (
    """\
Usage: queuectl host drain [options] NAME

Keeps all services of a host from starting jobs; queues take new ones. Running
jobs go on to their end. This holds until `queuectl host resume`, also for
services that start on the host later.
"""
    + COMMON
    + """
Exit code 3: no service of this database is on that host.

Examples:
  queuectl host drain web1
  queuectl host list
"""
)


def drain(context: Context, arguments: Arguments) -> int:
    """Drains a host. Raises NotFoundError, which hints at a mistyped name."""
    host = _host(context, arguments)
    context.store.drain(host.name, now_ms=now_ms())
    nothing = None if host.drained_ms is None else f"{host.name} is already drained"
    record = {"drained": host.name}
    return print_change(f"{host.name} drained", nothing, record, as_json=context.json)


def _host(context: Context, arguments: Arguments) -> _Host:
    name, hosts = arguments.text("NAME") or "", {host.name: host for host in _hosts(context)}
    if name not in hosts:
        from queued.core.suggestions import did_you_mean

        hint = did_you_mean(name, hosts)
        msg = f"no service of this database is on a host {name!r}{hint} (see: queuectl host list)"
        raise NotFoundError(msg)
    return hosts[name]


RESUME = (
    """\
Usage: queuectl host resume [options] NAME

Lets the services of a drained host start jobs again.
"""
    + COMMON
    + """
Exit code 3: no service of this database is on that host, and it is not drained.

Examples:
  queuectl host resume web1
"""
)


def resume(context: Context, arguments: Arguments) -> int:
    """Ends the drain of a host, if it is drained. Raises NotFoundError."""
    name = _host(context, arguments).name
    done = context.store.resume(name)
    nothing = None if done else f"{name} was not drained"
    record = {"host": name, "resumed": done}
    return print_change(f"{name} resumed", nothing, record, as_json=context.json)
