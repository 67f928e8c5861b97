"""The moves of a job between its states, as data.

`MOVES` has the same moves as the diagram:

              enqueue
                 |
                 v     claim                 exit 0
    +-------> pending --------> processing ---------> completed
    |            |                |  |  |
    |   cancel   |         cancel |  |  |  failed, attempts >= max_retries
    |            v                v  |  +----------> dead --+
    |         cancelled <---------+  |                      |  retry
    |                                |  failed, attempts left
    +--------------------------------+----------------------+

`hold`, `release` and `run-now` change only whether a pending job may be claimed.
"""

from enum import StrEnum

from queued.core.model import State


class Operation(StrEnum):
    """The operations that move a job from one state to another."""

    CLAIM = "claim"
    SETTLE = "settle"
    CANCEL = "cancel"
    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    RUN_NOW = "run-now"


MOVES: dict[tuple[State, Operation], frozenset[State]] = {
    (State.PENDING, Operation.CLAIM): frozenset({State.PROCESSING}),
    (State.PENDING, Operation.CANCEL): frozenset({State.CANCELLED}),
    (State.PENDING, Operation.HOLD): frozenset({State.PENDING}),
    (State.PENDING, Operation.RELEASE): frozenset({State.PENDING}),  # of a held job
    (State.PENDING, Operation.RUN_NOW): frozenset({State.PENDING}),
    (State.PROCESSING, Operation.SETTLE): frozenset(
        {State.PENDING, State.COMPLETED, State.DEAD, State.CANCELLED}
    ),
    (State.PROCESSING, Operation.CANCEL): frozenset({State.PROCESSING}),  # a request
    (State.DEAD, Operation.RETRY): frozenset({State.PENDING}),
    (State.CANCELLED, Operation.RETRY): frozenset({State.PENDING}),
}
