"""The moves of the dispatcher: every stage with every event."""

import pytest

from queued.service.dispatcher.stage import Event, Stage, after

# Each row is an event: the stage that follows STARTING, SERVING, STOPPING and so on.
FOLLOWS = {
    Event.WORKER_CONNECTED: "serving serving stopping draining finishing orphaned",
    Event.STOP_REQUESTED: "stopping stopping stopping draining finishing orphaned",
    Event.DRAIN: "draining draining draining draining finishing orphaned",
    Event.FINISH: "finishing finishing finishing finishing finishing orphaned",
    Event.SUPERVISOR_GONE: "orphaned orphaned orphaned orphaned orphaned orphaned",
}


@pytest.mark.parametrize("event", Event)
def test_every_stage_has_its_move(event: Event) -> None:
    assert [after(stage, event).value for stage in Stage] == FOLLOWS[event].split()


def test_jobs_are_claimed_until_a_stop_is_requested() -> None:
    assert [stage for stage in Stage if stage.claims] == [Stage.STARTING, Stage.SERVING]
