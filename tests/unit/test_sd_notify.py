"""What systemd is told, word for word, and when nobody is."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.service.ipc.messages import Load
from queued.service.supervisor.sd_notify import SdNotify, watchdog_s
from queued.service.supervisor.status import Stage, StatusReporter

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


def test_each_word_is_sent_and_the_status_only_when_it_has_changed(
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
def test_the_watchdog_is_whom_it_is_meant_for(
    environment: dict[str, str], limit_s: float | None
) -> None:
    assert watchdog_s(environment) == limit_s


def test_the_watchdog_is_meant_for_us() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}) == 3.0


def test_time_is_asked_for_only_while_jobs_are_waited_for(heard: Heard, notify: SdNotify) -> None:
    bulletin = StatusReporter(notify)
    bulletin.ready()
    bulletin.extend(1.0)
    assert bulletin.next_s() is None
    bulletin.stopping()
    bulletin.extend(1.0)
    bulletin.extend(2.0)
    bulletin.extend(6.0)
    bulletin.extended()
    bulletin.extend(20.0)
    assert heard() == ["READY=1", "STOPPING=1", *["EXTEND_TIMEOUT_USEC=15000000"] * 2]


def test_the_line_says_what_matters(notify: SdNotify) -> None:
    bulletin = StatusReporter(notify)
    assert bulletin.line(Stage.RUNNING, 4) == "starting"
    bulletin.announced = True
    bulletin.load = Load(busy=[1, 3], waiting=17)
    assert bulletin.line(Stage.RUNNING, 4) == "4 workers, 2 busy, 17 waiting"
    assert bulletin.line(Stage.RUNNING, 1) == "1 worker, 2 busy, 17 waiting"
    reloading = bulletin.line(Stage.RUNNING, 4, reloading=True)
    assert reloading == "4 workers, 2 busy, 17 waiting, reloading"
    assert bulletin.line(Stage.DRAINING, 2) == "draining: 2 workers, 2 busy, 17 waiting"


def test_who_has_not_waited_for_a_service_in_the_background_does_no_harm(heard: Heard) -> None:
    read, write = os.pipe()
    os.close(read)
    made = SdNotify(write)
    made.ready()
    assert heard() == ["READY=1"]
    made._systemd.socket.close()
