"""The stages of a worker from its work to its exit, and the moves between them as data.

Pure: the worker does what a stage asks for.
"""

from enum import Enum, auto
from typing import Final


class Stage(Enum):
    """How a worker treats its current run and the next runs."""

    WORKING = auto()  # accepts runs
    FINISHING = auto()  # finishes its run, returns the others, exits once its results are recorded
    STOPPING = auto()  # also stops its run
    ORPHANED = auto()  # the same; there will be no other supervisor or dispatcher

    @property
    def takes_runs(self) -> bool:
        """Whether a run that arrives may begin."""
        return self is Stage.WORKING

    @property
    def ends_run(self) -> bool:
        """Whether the current run must be stopped."""
        return self in {Stage.STOPPING, Stage.ORPHANED}


class Event(Enum):
    """An event that moves a worker to another stage."""

    DISMISSED = auto()  # SIGTERM
    STOPPED = auto()  # SIGQUIT, if the supervisor has recorded that running jobs must end
    ABANDONED = auto()  # the supervisor is gone, or the connection to the dispatcher is closed


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
