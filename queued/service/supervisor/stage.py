"""The stages of a shutdown, and the moves between them as a table.

Pure data: the supervisor performs the entry action of each stage.
"""

from enum import IntEnum, StrEnum


class Stage(IntEnum):
    """How far the shutdown has come. No move leads back."""

    RUNNING = 0
    DRAINING = 1  # workers finish what they run
    STOPPING = 2  # workers end what they run
    FINISHING = 3  # no worker is left; the dispatcher records the rest, for some seconds at most
    ABANDONED = 4  # all processes are killed; some results may not be recorded


class Event(StrEnum):
    """An event that may move the service to another stage. The value is the cause in the log."""

    SIGNAL = "TERM or INT"
    STOP_REQUESTED = "worker stop"
    DONE = "all is done"
    TIME_OVER = "the time of --for is over"
    FATAL = "the dispatcher cannot go on"
    GRACE_OVER = "shutdown_grace is over"
    NO_WORKER = "no worker is left"
    NOT_RECORDED = "the results could not be recorded in time"


MOVES = {
    (Stage.RUNNING, Event.SIGNAL): Stage.DRAINING,
    (Stage.RUNNING, Event.STOP_REQUESTED): Stage.DRAINING,
    (Stage.RUNNING, Event.DONE): Stage.DRAINING,
    (Stage.RUNNING, Event.TIME_OVER): Stage.DRAINING,
    (Stage.RUNNING, Event.FATAL): Stage.STOPPING,
    (Stage.DRAINING, Event.SIGNAL): Stage.STOPPING,
    (Stage.DRAINING, Event.FATAL): Stage.STOPPING,
    (Stage.DRAINING, Event.GRACE_OVER): Stage.STOPPING,
    (Stage.DRAINING, Event.NO_WORKER): Stage.FINISHING,
    (Stage.DRAINING, Event.NOT_RECORDED): Stage.ABANDONED,
    (Stage.STOPPING, Event.SIGNAL): Stage.ABANDONED,
    (Stage.STOPPING, Event.NO_WORKER): Stage.FINISHING,
    (Stage.STOPPING, Event.NOT_RECORDED): Stage.ABANDONED,
    (Stage.FINISHING, Event.NOT_RECORDED): Stage.ABANDONED,
}


def next_stage(stage: Stage, event: Event) -> Stage:
    """Returns the stage that follows; the same one if the event changes nothing."""
    return MOVES.get((stage, event), stage)
