"""Keeps the reports of a worker until they are recorded, through any number of dispatchers."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from queued.core.runs import HeldRun, Key
from queued.service.ipc.messages import Hello, Message, Output, Result, Returned
from queued.service.worker.capture import CHUNK

if TYPE_CHECKING:
    from queued.service.worker.execution import Execution


class Outbox:
    """Results and returned claims that were sent and are not yet known to be recorded."""

    def __init__(self) -> None:
        self.results: dict[Key, Execution] = {}
        self.returned: list[HeldRun] = []

    def hello(self, session: int, running: "Sequence[Execution]", queued: list[HeldRun]) -> Hello:
        """Returns the answer to a new dispatcher: the claims of these runs, and of all reports."""
        executions = [*running, *self.results.values()]
        begun = [one.run.key for one in executions if not one.disowned]
        holding = [*(one.run.held for one in executions), *queued, *self.returned]
        return Hello(session=session, holding=holding, begun=begun)

    def drop_recorded(self, keys: Collection[Key]) -> None:
        """Forgets the reports of these claims, which are recorded."""
        for key in keys:
            self.results.pop(key, None)
        if self.returned:
            self.returned = [one for one in self.returned if one.key not in keys]

    def resend(self, send: Callable[[Message], None]) -> None:
        """Sends all reports again, to a new dispatcher."""
        for execution in self.results.values():
            execution.output.rewind()
            report(execution, send)
        for one in self.returned:
            send(Returned(key=one.key))


def report(execution: "Execution", send: Callable[[Message], None]) -> None:
    """Sends the rest of a run's output and its ending."""
    run, output = execution.run, execution.output
    while output.waiting > CHUNK:
        for piece in output.pieces(CHUNK):
            send(Output(key=run.key, piece=piece))
    rest = output.pieces(CHUNK)
    send(Result(key=run.key, id=run.id, ending=execution.ending(), pieces=rest))
