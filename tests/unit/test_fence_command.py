"""The command that ends a host, started by a warden whose runs do not end."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from queued.service.warden.fence_command import FenceCommand
from tests.service import eventually


def _events(log: Mock) -> list[str]:
    return [call.args[0] for call in log.critical.call_args_list]


def test_it_runs_once_for_each_end_of_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUECTL_DB", "private")
    told, log = tmp_path / "told", Mock()
    command = FenceCommand(f"echo $QUEUECTL_DB $QUEUED_PIDS >> {told}", log)
    for pids in ([1, 2], [1], []):
        command.start(pids)
    eventually(lambda: told.exists() and told.read_text() == "1 2\n")
    command.collect()
    command.reset()

    def started_again() -> bool:
        command.collect()  # the first one may not have ended
        command.start([3])
        return len(_events(log)) == 2

    eventually(started_again)
    eventually(lambda: told.read_text() == "1 2\n3\n")
    assert _events(log) == ["lease.fence_started"] * 2


def test_a_failure_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    command = FenceCommand("exit 3", log)
    command.start([1])

    def failed() -> bool:
        command.collect()
        return "lease.fence_failed" in _events(log)

    eventually(failed)
    assert log.critical.call_args.kwargs["exit_code"] == 3
    command.reset()
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_spawn", Mock(side_effect=OSError(11, "no process is free")))
        command.start([1])
        assert "no process is free" in log.critical.call_args.kwargs["error"]
        logged = len(_events(log))
        command.start([1])
    assert len(_events(log)) == logged, "it is logged once"
    refused = command.must_start
    command.start([1])
    assert (refused, command.must_start) == (True, False)
    assert _events(log)[-1] == "lease.fence_started", "it is tried again"
    eventually(lambda: failed() and _events(log)[-1] == "lease.fence_failed")


def test_without_a_command_nothing_is_started() -> None:
    log = Mock()
    command = FenceCommand("", log)
    command.start([1])
    command.collect()
    assert not log.critical.called
