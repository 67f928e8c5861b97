"""The messages to systemd, and the pipe to the caller of --background."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.service.ipc.messages import Load
from queued.service.ipc.scoreboard import DISPATCHER
from queued.service.supervisor.children import Child
from queued.service.supervisor.sd_notify import SdNotify, watchdog_s
from queued.service.supervisor.stage import Stage
from queued.service.supervisor.status import StatusReporter

Heard = Callable[[], list[str]]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", path)

        def take() -> list[str]:
            messages = []
            try:
                while True:
                    messages.append(listener.recv(4096).decode())
            except BlockingIOError:
                return messages

        yield take


@pytest.fixture
def notify(heard: Heard) -> Iterator[SdNotify]:
    made = SdNotify()
    yield made
    made._systemd.socket.close()


def test_each_message_is_sent_and_the_status_only_when_it_has_changed(
    heard: Heard, notify: SdNotify
) -> None:
    notify.ready()
    notify.status("one")
    notify.status("one")
    notify.status("two")
    notify.watchdog()
    notify.extend(1.5)
    notify.stopping()
    assert heard() == [
        "READY=1",
        "STATUS=one",
        "STATUS=two",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1",
    ]


def test_reloading_says_when_it_began(heard: Heard, notify: SdNotify) -> None:
    notify.reloading()
    (message,) = heard()
    first, second = message.split("\n")
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.split("=")[1]) > 0


@pytest.mark.parametrize(
    ("environment", "limit_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_a_watchdog_for_another_process_is_ignored(
    environment: dict[str, str], limit_s: float | None
) -> None:
    assert watchdog_s(environment) == limit_s


def test_a_watchdog_for_this_process_is_used() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}) == 3.0


def test_time_is_asked_for_every_few_seconds(heard: Heard, notify: SdNotify) -> None:
    reporter = StatusReporter(notify)
    reporter.ready()
    reporter.stopping()
    reporter.extend(1.0)
    reporter.extend(2.0)
    reporter.extend(6.0)
    assert heard() == ["READY=1", "STOPPING=1", *["EXTEND_TIMEOUT_USEC=20000000"] * 2]


def test_the_status_line(notify: SdNotify) -> None:
    reporter = StatusReporter(notify)
    assert reporter.line(Stage.RUNNING, 4) == "starting"
    reporter.announced = True
    reporter.load = Load(busy=[1, 3], waiting=17)
    assert reporter.line(Stage.RUNNING, 4) == "4 workers, 2 busy, 17 waiting"
    assert reporter.line(Stage.RUNNING, 1) == "1 worker, 2 busy, 17 waiting"
    assert reporter.line(Stage.DRAINING, 2) == "draining: 2 workers, 2 busy, 17 waiting"
    undead = [Child(3, 43, 0.0), Child(DISPATCHER, 42, 0.0)]
    told = "; killed, but not dead: worker 3 (PID 43)"
    assert reporter.line(Stage.RUNNING, 4, undead[:1]).endswith(f"waiting{told}")
    told += ", dispatcher (PID 42); no job starts"
    assert reporter.line(Stage.RUNNING, 4, undead).endswith(told)


def test_a_caller_that_has_exited_does_no_harm(heard: Heard) -> None:
    read, write = os.pipe()
    os.close(read)
    made = SdNotify(write)
    made.ready()
    assert heard() == ["READY=1"]
    made._systemd.socket.close()


def test_messages_that_systemd_does_not_read_wait_in_order(heard: Heard, notify: SdNotify) -> None:
    count = 0
    while notify._try(f"X={count}"):
        count += 1
    notify.ready()
    notify.status("one")
    notify.watchdog()
    notify.status("two")
    notify.stopping()
    again_s = notify.flush(5.0)
    assert again_s is not None
    assert again_s > 5.0
    assert heard() == [f"X={n}" for n in range(count)]
    assert notify.flush(6.0) is None
    assert heard() == ["READY=1", "STATUS=two", "STOPPING=1"]
