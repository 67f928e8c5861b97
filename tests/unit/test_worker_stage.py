"""Every event in every stage of a worker: no move goes back, and the run ends when it must."""

from itertools import product

import pytest

from queued.service.worker.stage import MOVES, Event, Stage

PAIRS = list(product(Stage, Event))
ENDS_RUN = {Event.STOPPED, Event.ABANDONED}


def test_the_table_has_each_pair_and_no_other() -> None:
    assert set(MOVES) == set(PAIRS)


@pytest.mark.parametrize(("stage", "event"), PAIRS)
def test_a_worker_that_leaves_does_not_come_back(stage: Stage, event: Event) -> None:
    after = MOVES[stage, event]
    assert not after.takes_runs
    assert after.ends_run == (stage.ends_run or event in ENDS_RUN)
    assert after.value >= stage.value
    assert (after is Stage.ORPHANED) == (stage is Stage.ORPHANED or event is Event.ABANDONED)


@pytest.mark.parametrize(("stage", "event"), PAIRS)
def test_the_same_event_again_changes_nothing(stage: Stage, event: Event) -> None:
    after = MOVES[stage, event]
    assert MOVES[after, event] is after
