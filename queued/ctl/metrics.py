"""The command metrics: the numbers of a queue in the text format of Prometheus."""

import os
from typing import TYPE_CHECKING

from queued.core.errors import Exit, QueuedError, UsageError
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_err, print_json, print_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

METRICS = (
    """\
Usage: queuectl metrics [options]

Prints the numbers of a database in the text format of Prometheus: jobs, runs
with histograms of their waits and durations, limits, services, and its size.

Options:
  --listen ADDRESS     serve them over HTTP at HOST:PORT, until Ctrl+C or TERM
  --file PATH          write them to this file, which is replaced at once
"""
    + COMMON
    + """
Examples:
  queuectl metrics --listen 127.0.0.1:9464
  queuectl metrics --file /var/lib/prometheus/node-exporter/queued.prom
"""
)


def metrics(context: Context, arguments: Arguments) -> int:
    """Prints or writes the numbers once, or serves them."""
    address, path = arguments.text("--listen"), arguments.text("--file")
    if sum((address is not None, path is not None, context.json)) > 1:
        msg = "give one of --listen, --file and --json"
        raise UsageError(msg)
    if address is not None:
        return _listen(lambda: Context(arguments), *_split(address))
    families = list(_families(context))
    if context.json:
        print_json([sample for family in families for sample in _samples(family)])
    elif path is not None:
        _write(path, families)
    else:
        from prometheus_client import generate_latest

        print_out(generate_latest(_registry(lambda: families)).decode().rstrip())
    return Exit.DONE


def _families(context: Context) -> "list[Metric]":
    from queued.ctl.metric_families import families

    return families(context)


def _samples(family: "Metric") -> "Iterator[dict[str, object]]":
    for sample in family.samples:
        yield {"name": sample.name, "labels": sample.labels, "value": sample.value}


def _registry(collect: "Callable[[], list[Metric]]") -> "CollectorRegistry":
    """Returns a registry with the families that `collect` returns at each scrape."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class Queue(Collector):
        def collect(self) -> "list[Metric]":
            return collect()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Queue())
    return registry


def _write(path: str, families: "list[Metric]") -> None:
    """Replaces the file, so that no reader sees a part of it."""
    from prometheus_client import write_to_textfile

    try:
        write_to_textfile(path, _registry(lambda: families))
    except OSError as error:
        error.filename = path  # instead of the temporary file beside it
        raise


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        msg = f"--listen takes HOST:PORT such as 127.0.0.1:9464, not {address!r}"
        raise UsageError(msg)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listen(make_context: "Callable[[], Context]", host: str, port: int) -> int:
    """Serves until the process is ended. Each scrape opens the database anew."""
    from prometheus_client import start_http_server

    from queued.ctl.metric_families import up

    def scrape() -> "list[Metric]":
        context = make_context()
        try:
            return _families(context)
        except QueuedError as error:
            print_err(f"queuectl: {error}")
            return [up(0)]
        finally:
            context.close()

    scrape()  # so that a wrong --db is reported at the start
    try:
        server, thread = start_http_server(port, host, _registry(scrape))
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror}"
        raise UsageError(msg) from error
    print_err(f"queuectl: serves http://{host}:{server.server_port}/metrics (pid {os.getpid()})")
    thread.join()
    return Exit.DONE
