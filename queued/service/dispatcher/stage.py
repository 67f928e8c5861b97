"""The stages of a dispatcher's life, and the moves between them as a table."""

from enum import StrEnum


class Stage(StrEnum):
    """The stages of the dispatcher: its work, and the event for which it waits."""

    STARTING = "starting"  # no worker has connected yet
    SERVING = "serving"
    STOPPING = "stopping"  # a stop was requested, and the supervisor has been told
    DRAINING = "draining"  # no more claims: the supervisor has sent Drain, or will
    FINISHING = "finishing"  # the supervisor has sent Finish: no worker lives
    ORPHANED = "orphaned"  # the supervisor is gone

    @property
    def claims(self) -> bool:
        """Whether jobs are claimed in this stage."""
        return self in (Stage.STARTING, Stage.SERVING)


class Event(StrEnum):
    """An event that may move the dispatcher to another stage."""

    WORKER_CONNECTED = "worker connected"
    STOP_REQUESTED = "stop requested"
    DRAIN = "drain"
    FINISH = "finish"
    SUPERVISOR_GONE = "supervisor gone"


_MOVES = {
    (Stage.STARTING, Event.WORKER_CONNECTED): Stage.SERVING,
    (Stage.STARTING, Event.STOP_REQUESTED): Stage.STOPPING,
    (Stage.SERVING, Event.STOP_REQUESTED): Stage.STOPPING,
    **{(stage, Event.DRAIN): Stage.DRAINING for stage in list(Stage)[:3]},
    **{(stage, Event.FINISH): Stage.FINISHING for stage in list(Stage)[:4]},
    **{(stage, Event.SUPERVISOR_GONE): Stage.ORPHANED for stage in Stage},
}


def after(stage: Stage, event: Event) -> Stage:
    """Returns the stage that follows; the same one if the event changes nothing."""
    return _MOVES.get((stage, event), stage)
