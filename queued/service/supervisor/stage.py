"""The stages of a service on its way out, and which event leads from which stage to which.

Pure data: the supervisor does what entering a stage asks for.
"""

from enum import IntEnum, StrEnum


class Stage(IntEnum):
    """How far the service is on its way out; it never goes back."""

    RUNNING = 0
    DRAINING = 1  # workers finish what they run
    STOPPING = 2  # workers end what they run
    FINISHING = 3  # no worker is left; the dispatcher records the rest
    ABANDONED = 4  # all processes are killed, though not all is recorded


class Event(StrEnum):
    """What moves a service on; the value is the cause in the log."""

    SIGNAL = "TERM or INT"
    STOP_REQUESTED = "worker stop"
    FATAL = "the dispatcher cannot go on"
    GRACE_OVER = "shutdown_grace is over"
    NO_WORKER = "no worker is left"
    NOT_RECORDED = "the results could not be recorded in time"


MOVES = {
    (Stage.RUNNING, Event.SIGNAL): Stage.DRAINING,
    (Stage.RUNNING, Event.STOP_REQUESTED): Stage.DRAINING,
    (Stage.RUNNING, Event.FATAL): Stage.STOPPING,
    (Stage.DRAINING, Event.SIGNAL): Stage.STOPPING,
    (Stage.DRAINING, Event.FATAL): Stage.STOPPING,
    (Stage.DRAINING, Event.GRACE_OVER): Stage.STOPPING,
    (Stage.DRAINING, Event.NO_WORKER): Stage.FINISHING,
    (Stage.DRAINING, Event.NOT_RECORDED): Stage.ABANDONED,
    (Stage.STOPPING, Event.SIGNAL): Stage.ABANDONED,
    (Stage.STOPPING, Event.NO_WORKER): Stage.FINISHING,
    (Stage.STOPPING, Event.NOT_RECORDED): Stage.ABANDONED,
    (Stage.FINISHING, Event.SIGNAL): Stage.ABANDONED,
    (Stage.FINISHING, Event.NOT_RECORDED): Stage.ABANDONED,
}


def next_stage(stage: Stage, event: Event) -> Stage:
    """Returns the stage after the event: the same one if the event means nothing in it."""
    return MOVES.get((stage, event), stage)
