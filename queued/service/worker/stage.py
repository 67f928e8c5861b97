"""How far a worker is on its way out: the stages, and the moves between them as data.

Pure: what a stage asks for is done by the worker.
"""

from enum import Enum, auto
from typing import Final


class Stage(Enum):
    """What a worker does with its run and with the next ones."""

    WORKING = auto()  # takes runs
    FINISHING = auto()  # lets its run finish, gives back the others, exits once nothing is owed
    STOPPING = auto()  # ends its run as well
    ORPHANED = auto()  # the same, and no other supervisor or dispatcher will come

    @property
    def takes_runs(self) -> bool:
        """Whether a run that arrives may begin."""
        return self is Stage.WORKING

    @property
    def ends_run(self) -> bool:
        """Whether the run that goes on must end."""
        return self in {Stage.STOPPING, Stage.ORPHANED}


class Event(Enum):
    """What moves a worker from one stage to another."""

    DISMISSED = auto()  # SIGTERM
    STOPPED = auto()  # SIGQUIT, if the supervisor has noted that running jobs are to end
    ABANDONED = auto()  # the supervisor is gone, or the connection to the dispatcher for good


MOVES: Final = {
    (Stage.WORKING, Event.DISMISSED): Stage.FINISHING,
    (Stage.WORKING, Event.STOPPED): Stage.STOPPING,
    (Stage.WORKING, Event.ABANDONED): Stage.ORPHANED,
    (Stage.FINISHING, Event.DISMISSED): Stage.FINISHING,
    (Stage.FINISHING, Event.STOPPED): Stage.STOPPING,
    (Stage.FINISHING, Event.ABANDONED): Stage.ORPHANED,
    (Stage.STOPPING, Event.DISMISSED): Stage.STOPPING,
    (Stage.STOPPING, Event.STOPPED): Stage.STOPPING,
    (Stage.STOPPING, Event.ABANDONED): Stage.ORPHANED,
    (Stage.ORPHANED, Event.DISMISSED): Stage.ORPHANED,
    (Stage.ORPHANED, Event.STOPPED): Stage.ORPHANED,
    (Stage.ORPHANED, Event.ABANDONED): Stage.ORPHANED,
}
