"""Runs the benchmarks and prints one table: `python -m tests.bench [--short] [--json] [NAME...]`.

A figure is a ratio to a yardstick that ran in the same rounds, or a count or measurement of one
service. No run fails because of a figure: a goal that was missed is printed as missed.
"""

import json
import os
import platform
import sys

import apsw

from queued import __version__
from tests.bench import (
    commands,
    concurrent_clients,
    dependencies,
    engines,
    idle,
    peers,
    postgres,
    postgres_peers,
    queues,
    scale,
    throughput,
)
from tests.bench.measure import FULL, SHORT, Row

BENCHMARKS = {
    "xargs": throughput.against_xargs,
    "peers": peers.ahead_of_each,
    "workers": throughput.many_workers,
    "enqueue": commands.one_enqueue,
    "batch": commands.many_enqueues,
    "latency": commands.start_latency,
    "scale": scale.flat,
    "queues": queues.many,
    "idle": idle.nothing_to_do,
    "memory": idle.memory,
    "readers": concurrent_clients.beside_readers,
    "begin": concurrent_clients.beside_a_forgotten_begin,
    "enqueuers": concurrent_clients.beside_enqueuers,
    "cancel": concurrent_clients.beside_a_cancel,
    "engines": engines.against_sqlite,
    "dependencies": dependencies.chain_and_fan_in,
    "postgres": postgres.on_a_server,
    "postgres-peers": postgres_peers.ahead_of_each,
}


def main(arguments: list[str]) -> int:
    """The chosen benchmarks, all unless named."""
    if unknown := set(arguments) - {"--short", "--json", *BENCHMARKS}:
        print(f"no benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    chosen = [word for word in arguments if not word.startswith("--")] or list(BENCHMARKS)
    size = SHORT if "--short" in arguments else FULL
    as_json = "--json" in arguments
    rows = []
    if not as_json:
        print(surroundings())
    for name in chosen:
        for row in BENCHMARKS[name](size):
            rows.append(row)
            if not as_json:
                print(line(row), flush=True)
    if as_json:
        print(json.dumps({"on": surroundings(), "rows": [row._asdict() for row in rows]}, indent=1))
    return 0


def surroundings() -> str:
    """Machine, versions and durability."""
    return (
        f"queued {__version__}, Python {platform.python_version()}, SQLite"
        f" {apsw.sqlite_lib_version()}, synchronous=FULL; {os.cpu_count()} cores,"
        f" Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"
    )


def line(row: Row) -> str:
    """A row of the table."""
    value = "absent" if row.value is None else f"{row.value:.2f}"
    met = {True: "met", False: "MISSED", None: "-"}[row.met]
    return (
        f"{row.what:42} {row.yardstick:20} {value:>8}  {row.goal:8} {met:6}  {row.detail}".rstrip()
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
