"""What a worker owes to the dispatcher, through any number of dispatchers."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from queued.core.model import Key
from queued.service.ipc.messages import Message, Output, Result, Returned
from queued.service.worker.capture import CHUNK

if TYPE_CHECKING:
    from queued.service.worker.execution import Execution


class Outbox:
    """Results that were sent, and claims that were given back, and are not known to be recorded."""

    def __init__(self) -> None:
        self.results: dict[Key, Execution] = {}
        self.returned: list[Key] = []

    def keys(self) -> list[Key]:
        """The claims of all that."""
        return [*self.results, *self.returned]

    def recorded(self, keys: Collection[Key]) -> None:
        """Of these claims nothing is owed any more."""
        for key in keys:
            self.results.pop(key, None)
        if self.returned:
            self.returned = [key for key in self.returned if key not in keys]

    def report(self, send: Callable[[Message], None]) -> None:
        """Sends all of it again: to another dispatcher, which may know nothing of it."""
        for execution in self.results.values():
            execution.output.rewind()
            report(execution, send)
        for key in self.returned:
            send(Returned(key=key))


def report(execution: "Execution", send: Callable[[Message], None]) -> None:
    """Sends the last of a run's output and how it ended."""
    key, output = execution.run.key, execution.output
    while output.waiting > CHUNK:
        for piece in output.pieces(CHUNK):
            send(Output(key=key, piece=piece))
    send(Result(key=key, ending=execution.ending(), pieces=output.pieces(CHUNK)))
