"""A short torture in each run of the tests; `TORTURE_SECONDS` makes it longer.

The long one: make torture SECONDS=300 SEED=7
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres_server
from tests.service import run_python
from tests.torture.__main__ import few_pids_possible
from tests.torture.checker import check
from tests.torture.torture import Torture, report

SECONDS = float(os.environ.get("TORTURE_SECONDS", "15"))
SEED = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(1, 1_000_000)


@pytest.fixture(params=["sqlite", "postgres", "hosts"])
def torture(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Torture]:
    print(f"seed {SEED}")
    with_server = request.param != "sqlite"
    url = postgres_server.new_queue(postgres_server.own_server) if with_server else ""
    made = Torture(tmp_path, SEED, url, hosts=3 if request.param == "hosts" else 0)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.timeout(SECONDS + 240)
def test_no_promise_breaks(torture: Torture) -> None:
    known = torture.run(SECONDS)
    broken = check(known)
    print(report(torture, known, broken))
    assert not broken
    assert known.acknowledged
    assert torture.done["start"] > 1


@pytest.mark.skipif(not few_pids_possible(), reason="needs root and Linux 6.14 for few pids")
@pytest.mark.timeout(SECONDS + 240)
def test_no_promise_breaks_where_pids_are_reused() -> None:
    words = [f"--seconds={SECONDS}", f"--seed={SEED}", "--pids=600"]
    done = run_python("-m", "tests.torture", *words, timeout=None)
    assert done.returncode == 0, done.stdout + done.stderr
