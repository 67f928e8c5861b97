"""The benchmarks run. Their results are not checked, because machines are shared and noisy."""

import json
from pathlib import Path

import pytest

from tests.bench.__main__ import BENCHMARKS, line
from tests.bench.measure import Row
from tests.service import python_env, run_python


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_measures_or_names_what_is_absent(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    env = {**python_env(), "BENCH_DIR": str(tmp_path)}
    done = run_python("-m", "tests.bench", "--short", "--json", name, env=env, timeout=110)
    assert done.returncode == 0, done.stderr
    rows = [Row(**row) for row in json.loads(done.stdout)["rows"]]
    assert rows
    for row in rows:
        assert row.value is not None or row.detail.startswith("absent: ")
        assert row.met is None if row.value is None or row.goal == "-" else row.met is not None


def test_a_missed_goal_is_printed_as_missed() -> None:
    assert "MISSED" in line(Row("load", "load alone", 0.5, ">= 0.9", met=False))
    assert "absent" in line(Row("load", "nq", None, "> 1", "absent: apt-get install nq"))
