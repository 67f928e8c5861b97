"""The moves of the supervisor: every stage with every event; no move leads back."""

import itertools

import pytest

from queued.service.supervisor.stage import MOVES, Event, Stage, next_stage

# One line for each stage, one column for each event in the order of `Event`:
# SIGNAL, STOP_REQUESTED, DONE, TIME_OVER, FATAL, GRACE_OVER, NO_WORKER, NOT_RECORDED
TABLE = {
    Stage.RUNNING: "DRAINING DRAINING DRAINING DRAINING STOPPING - - -",
    Stage.DRAINING: "STOPPING - - - STOPPING STOPPING FINISHING ABANDONED",
    Stage.STOPPING: "ABANDONED - - - - - FINISHING ABANDONED",
    Stage.FINISHING: "- - - - - - - ABANDONED",
    Stage.ABANDONED: "- - - - - - - -",
}
PAIRS = [
    pytest.param(stage, event, word, id=f"{stage.name}-{event.name}")
    for stage, line in TABLE.items()
    for event, word in zip(Event, line.split(), strict=True)
]


@pytest.mark.parametrize(("stage", "event", "word"), PAIRS)
def test_each_event_in_each_stage(stage: Stage, event: Event, word: str) -> None:
    after = next_stage(stage, event)
    assert after is (stage if word == "-" else Stage[word])
    assert after >= stage


def test_all_pairs_are_driven() -> None:
    driven = {(param.values[0], param.values[1]) for param in PAIRS}
    assert driven == set(itertools.product(Stage, Event))
    assert set(MOVES) <= driven


def test_signals_alone_end_a_service() -> None:
    stage = Stage.RUNNING
    for _ in Stage:
        stage = next_stage(stage, Event.SIGNAL)
    assert stage is Stage.ABANDONED
