"""Hosts and labels: what waits for a label, host list, drain and resume, worker stop --host."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from queued.core.times import now_ms
from tests.cli.queuectl_runner import QueuectlRunner

Serve = Callable[[str, str, str], None]


@pytest.fixture
def serve(queuectl: QueuectlRunner) -> Iterator[Serve]:
    """Registers a service with an id, a host and labels, which lives until the end of the test."""
    with ExitStack() as stack:

        def register(name: str, host: str, given: str) -> None:
            stack.callback(os.close, queuectl.register(name, host, given))
            with queuectl.ledger.transaction():
                queuectl.ledger.worker_started(name, 1, 5001, now_ms=now_ms())

        yield register


def test_a_job_says_which_labels_no_live_host_has(queuectl: QueuectlRunner, serve: Serve) -> None:
    queuectl.add("first")
    serve("one", "web1", "gpu,host:web1")
    serve("two", "web2", "host:web2,zone=a")
    lacks = {"fpga,gpu": "fpga", "gpu,zone=a": "gpu and zone=a", "host:web3": "host:web3"}
    for name, (requires, lack) in enumerate(lacks.items()):
        done = queuectl("enqueue", "--id", str(name), "--requires", requires, "true")
        assert done == (0, f"{name}\n", f"queuectl: no live host has {lack}\n")
        assert queuectl.json("show", str(name))["requires"] == requires.split(",")
        assert f"state         pending (no live host has {lack})" in queuectl.ok("show", str(name))
    assert (
        queuectl("enqueue", "--id", "ok", "--host", "web1", "--requires", "gpu", "true").err == ""
    )
    assert queuectl.ok("list", "-o", "id,requires,why").splitlines() == [
        "ID             REQUIRES          WHY",
        "first",
        *(f"{n:<13}  {one:<16}  no live host has {lacks[one]}" for n, one in enumerate(lacks)),
        "ok             gpu,host:web1",
    ]
    assert "true  \u2190 no live host has fpga" in queuectl.ok("list")
    reasons = sorted(f"no live host has {lack}" for lack in lacks.values())
    assert queuectl.json("status")["waiting_reasons"] == reasons
    assert "; ".join(reasons) in queuectl.ok("status")
    assert queuectl("status", "--check", "--max-age", "1w").code == 0
    done = queuectl("status", "--check", "--max-age", "0")
    assert (done.code, done.out.partition("; ")[2]) == (1, "; ".join(reasons) + "\n")


def test_of_many_reasons_the_first_three_are_shown(queuectl: QueuectlRunner, serve: Serve) -> None:
    queuectl.add("first")
    serve("one", "web1", "")
    labels = "abcde"
    done = queuectl(
        "enqueue",
        "-",
        stdin="".join(f'{{"command":"true","requires":["{each}"]}}\n' for each in labels),
    )
    shown = [*(f"no live host has {each}" for each in "abc"), "and 2 more reasons"]
    assert done.err.splitlines() == [f"queuectl: {each}" for each in shown]
    assert "; ".join(shown) in queuectl.ok("status")
    assert queuectl.ok("status", "--check").endswith("; ".join(shown) + "\n")
    assert len(queuectl.json("status")["waiting_reasons"]) == len(labels)


def test_a_drained_host_is_shown_until_it_is_resumed(
    queuectl: QueuectlRunner, serve: Serve
) -> None:
    queuectl.add("runs")
    serve("one", "web1", "gpu,host:web1")
    queuectl.claim("one", 1)
    queuectl.add("waits", requires=["gpu"])
    assert queuectl.ok("host", "drain", "web1") == "web1 drained\n"
    already = (0, "", "queuectl: web1 is already drained\n")
    assert queuectl("host", "drain", "web1") == already
    assert [line.split() for line in queuectl.ok("host", "list").splitlines()] == [
        ["HOST", "STATE", "SERVICE", "VERSION", "WORKERS", "RENEWED", "LABELS", "RUNNING"],
        ["web1", "drained", "one", "0.1.0", "1", "-", "gpu", "runs"],
    ]
    (host,) = queuectl.json("host", "list")
    assert host["drained_at"] is not None
    assert [service["labels"] for service in host["services"]] == [["gpu", "host:web1"]]
    assert "queued 0.1.0, drained\n  on web1 " in queuectl.ok("worker", "list")
    assert queuectl.json("show", "waits")["blocked"] == "web1 is drained"
    assert queuectl.json("host", "resume", "web1") == {"host": "web1", "resumed": True}
    assert queuectl.json("show", "waits")["blocked"] is None
    assert queuectl("host", "resume", "web1") == (0, "", "queuectl: web1 was not drained\n")


def test_a_host_without_a_service_is_not_drained(queuectl: QueuectlRunner, serve: Serve) -> None:
    queuectl.add("first")
    serve("one", "web1", "host:web1")
    before = queuectl.dump()
    told = "no service of this database is on a host 'web2'; did you mean 'web1'?"
    for verb in ("drain", "resume"):
        done = queuectl("host", verb, "web2")
        assert done == (3, "", f"queuectl: {told} (see: queuectl host list)\n")
    assert queuectl.dump() == before


def test_only_the_services_of_a_host_are_stopped(queuectl: QueuectlRunner, serve: Serve) -> None:
    queuectl.add("first")
    for name, host in (("one", "web1"), ("two", "web2"), ("three", "web2")):
        serve(name, host, f"host:{host}")
    done = queuectl("worker", "stop", "--host", "web1", "--all-hosts")
    assert done.code == 2
    assert done.err.startswith("queuectl: give --host NAME or --all-hosts, not both\n")
    stopped = queuectl.json("worker", "stop", "--no-wait", "--host", "web2")
    assert sorted(stopped["asked"]) == ["three", "two"]
    done = queuectl("worker", "stop", "--host", "web3")
    assert done.err == f"queuectl: no service of the host web3 runs on {queuectl.engine.name}\n"
    stopped = queuectl.json("worker", "stop", "--no-wait", "--all-hosts")
    assert sorted(stopped["asked"]) == ["one", "three", "two"]


@pytest.mark.parametrize("given", ["a b", "a,,b", "x" * 129, ","])
def test_an_invalid_label_is_refused(queuectl: QueuectlRunner, given: str) -> None:
    done = queuectl("enqueue", "--requires", given, "true")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("queuectl: requires: a label has 1 to 128 printable characters")
    assert queuectl.dump() is None
