"""How long the dispatcher waits after the database has refused a turn."""

from itertools import pairwise
from unittest.mock import Mock

import pytest

from queued.core.errors import DeniedError, StorageError
from queued.service.dispatcher.commit_backoff import CommitBackoff


def test_the_delay_doubles_up_to_five_seconds() -> None:
    backoff = CommitBackoff(Mock())
    assert backoff.not_before_s < 0
    delays = []
    for _ in range(40):
        backoff.on_refused(StorageError("full"), 100.0)
        delays.append(backoff.not_before_s - 100.0)
    assert delays[0] == pytest.approx(0.05)
    assert all(after == pytest.approx(min(2 * before, 5.0)) for before, after in pairwise(delays))


def test_refusals_in_a_row_are_logged_once_and_so_is_their_end() -> None:
    log = Mock()
    backoff = CommitBackoff(log)
    for _ in range(2):
        for _ in range(3):
            backoff.on_refused(StorageError("full"), 100.0)
        backoff.on_committed()
        assert backoff.not_before_s < 0
        backoff.on_committed()
    assert log.error.call_count == 2
    for error in (StorageError("lost"), DeniedError("wrong password"), StorageError("lost")):
        backoff.on_refused(error, 100.0)
    assert log.error.call_count == 4, "each reason once"
    backoff.on_committed()
    assert [call.kwargs for call in log.info.call_args_list] == [{"refusals": 3}] * 3
    backoff.on_refused(StorageError("full"), 100.0)
    assert backoff.not_before_s == pytest.approx(100.05), "the delays begin anew"
