"""Jobs that wait for other jobs beside as many that do not, on the database alone."""

import os
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from queued.core.model import NewJob
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.bench.engines import drain_s
from tests.bench.measure import Row, Size, median, place, ratios


def chain_and_fan_in(size: Size) -> list[Row]:
    """A chain runs job by job, and so does its yardstick; before a fan-in, 64 jobs run at once."""
    names = [f"job{number}" for number in range(2 * size.jobs)]
    chain = [NewJob("true", id=names[0])]
    chain += [NewJob("true", id=name, after=(before,)) for before, name in pairwise(names)]
    fan_in = [NewJob("true", id=name) for name in names]
    fan_in.append(NewJob("true", id="last", after=tuple(names)))
    return [
        _row(size, f"a chain of {len(chain)}", chain, at_once=1),
        _row(size, f"a fan-in of {len(names)}", fan_in, at_once=64),
    ]


def _row(size: Size, what: str, jobs: Sequence[NewJob], *, at_once: int) -> Row:
    plain = [NewJob("true")] * len(jobs)
    (got,) = ratios(
        size.pairs, partial(_settle_s, plain, at_once), partial(_settle_s, jobs, at_once)
    )
    value = median(got)
    each = " ".join(f"{ratio:.2f}" for ratio in got)
    return Row(what, "jobs that wait for none", value, ">= 0.7", each, value >= 0.7)


def _settle_s(jobs: Sequence[NewJob], at_once: int) -> float:
    with place() as directory:
        path, wait = os.path.join(directory, "q.db"), BusyHandler(10)
        return drain_s(
            jobs, partial(SqliteStore, path, wait), partial(SqliteLedger, path, wait), at_once
        )
