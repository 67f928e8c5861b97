"""queuectl metrics: its output, file and server, and that the dashboard and the page fit it."""

import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.queuectl_runner import QueuectlRunner
from tests.service import ROOT, Queue, eventually

Samples = dict[tuple[str, str], float]


def _samples(text: str) -> Samples:
    """The samples by name and by the values of their labels."""
    return {
        (sample.name, " ".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.both_engines
def test_a_purge_takes_nothing_from_the_runs_and_histograms(queue: Queue) -> None:
    queue.add_all(["sleep 0.3", "true", "true"], queue="a")
    queue.add("exit 3", queue="b", max_retries=1)
    queue.add("true", queue="b", delay=1000)
    assert queue.spawn("--drain").ended() == 0
    assert queue.queuectl("purge", "--all", "--yes").returncode == 0
    found = _samples(queue.queuectl("metrics").stdout)
    assert found["queued_jobs", "b scheduled"] == 1
    assert found["queued_jobs", "b pending"] == 0
    assert ("queued_jobs", "a completed") not in found
    assert found["queued_runs_total", "a completed"] == 3
    assert found["queued_runs_total", "b exit"] == 1
    assert found["queued_run_seconds_count", "a"] == found["queued_wait_seconds_count", "a"] == 3
    assert 0.3 <= found["queued_run_seconds_sum", "a"] < 60
    assert found["queued_run_seconds_bucket", "0.25 a"] == 2
    assert found["queued_run_seconds_bucket", "+Inf a"] == 3
    assert found["queued_services", ""] == 0
    assert found["queued_database_bytes", ""] + found["queued_wal_bytes", ""] > 10_000


def test_the_services_and_what_waits(queue: Queue) -> None:
    service = queue.serve(workers=2)
    queue.add_all([f"until [ -e {queue.file('go')} ]; do sleep 0.05; done"] * 3)
    queue.wait_all(2, "processing")
    found = _samples(queue.queuectl("metrics").stdout)
    of_services = {key[0]: value for key, value in found.items() if key[1] == _host(queue)}
    assert of_services == {
        "queued_services": 1, "queued_workers": 2, "queued_workers_busy": 2,
    }  # fmt: skip
    assert found["queued_oldest_ready_seconds", ""] > 0
    assert found["queued_queue_oldest_ready_seconds", "default"] > 0
    queue.file("go").touch()
    assert service.stop() == 0


@pytest.mark.both_engines
def test_the_limits_of_queues_and_what_is_left_of_them(queuectl: QueuectlRunner) -> None:
    queuectl.ok("queue", "set", "a", "--concurrency", "3", "--rate", "5/hour")
    queuectl.ok("queue", "set", "b", "--concurrency", "0")
    queuectl.ok("queue", "set", "c", "--priority", "1")
    queuectl.add("heavy", queue="a", slots=2)
    queuectl.claim()
    found = _samples(queuectl.ok("metrics"))
    limits = ("queued_queue_concurrency", "queued_queue_places_used", "queued_queue_starts_left")
    assert {key: value for key, value in found.items() if key[0] in limits} == {
        (limits[0], "a"): 3, (limits[1], "a"): 2, (limits[2], "a"): 4,
        (limits[0], "b"): 0, (limits[1], "b"): 0,
    }  # fmt: skip


def _host(queue: Queue) -> str:
    return queue.store.instances()[0].host


@pytest.mark.sqlite_only
def test_a_file_is_replaced_at_once(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    path = queuectl.directory / "metrics" / "queued.prom"
    path.parent.mkdir()
    path.write_text("before")
    queuectl.database.rename(queuectl.directory / "away")
    assert queuectl("metrics", "--file", str(path)).code == 3
    assert path.read_text() == "before"
    (queuectl.directory / "away").rename(queuectl.database)
    with path.open() as before:
        assert queuectl.ok("metrics", "--file", str(path)) == ""
        assert before.read() == "before"
    assert _samples(path.read_text())["queued_jobs", "default pending"] == 1
    assert list(path.parent.iterdir()) == [path]
    done = queuectl("metrics", "--file", str(path / "x"))
    assert done == (74, "", f"queuectl: {path}/x: Not a directory\n")


@pytest.mark.sqlite_only
def test_a_server_outlives_its_database(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    process = queuectl.start("metrics", "--listen", "127.0.0.1:0", stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        told = process.stderr.readline().decode()
        url = re.search(r"http://\S+", told)
        assert url is not None, told

        def scrape() -> Samples:
            with urllib.request.urlopen(url[0]) as answer:  # noqa: S310 - it is local
                return _samples(answer.read().decode())

        assert scrape()["queued_jobs", "default pending"] == 1
        queuectl.database.rename(queuectl.directory / "away")
        assert list(scrape().values()) == [0]
        (queuectl.directory / "away").rename(queuectl.database)
        assert eventually(scrape)["queued_jobs", "default pending"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--listen 9464", "--listen takes HOST:PORT"),
        ("--listen nowhere.invalid:1", "cannot listen on nowhere.invalid:1"),
        ("--json --file x", "give one of --listen, --file and --json"),
    ],
)
def test_bad_input_is_one_line(queuectl: QueuectlRunner, words: str, message: str) -> None:
    queuectl.add("a")
    done = queuectl("metrics", *words.split())
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def _families(queuectl: QueuectlRunner) -> set[str]:
    """The names as queries have them: a counter ends with _total, a histogram has no ending."""
    queuectl.add("a")
    text = queuectl.ok("metrics")
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert "histogram" in kinds.values()
    return set(kinds)


def test_the_dashboard_uses_exactly_the_metrics_that_exist(queuectl: QueuectlRunner) -> None:
    dashboard = json.loads((ROOT / "packaging/grafana/queued.json").read_text())
    queries = [query["expr"] for panel in dashboard["panels"] for query in panel["targets"]]
    used = set(re.findall(r"queued_\w+", " ".join(queries)))
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in used} == _families(queuectl)


def test_the_page_names_the_metrics_that_exist(queuectl: QueuectlRunner) -> None:
    page = Path(ROOT / "docs/metrics.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == _families(queuectl)
