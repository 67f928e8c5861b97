"""The supervisor's channel to the dispatcher, and the orders that each new dispatcher gets.

Orders and deaths are kept until a dispatcher has carried them out, because the dispatcher that
received them may die first.
"""

from collections.abc import Callable, Iterable
from socket import socket

from msgspec.structs import replace

from queued.core import times
from queued.service.ipc.channel import Channel
from queued.service.ipc.messages import (
    Drain,
    Finish,
    Message,
    Reload,
    Roster,
    WorkerGone,
    WorkerStarted,
)
from queued.service.linux.event_loop import EventLoop
from queued.service.supervisor.children import Child

OnMessages = Callable[[list[Message]], None]


class DispatcherLink:
    """The channel while a dispatcher lives. `on_messages` is called with its messages."""

    def __init__(self, loop: EventLoop, on_messages: OnMessages) -> None:
        self.channel: Channel | None = None
        self.draining = self.finishing = False
        self._loop = loop
        self._on_messages = on_messages
        self._unrecorded: list[WorkerGone] = []  # deaths that no dispatcher has recorded yet
        self._death_number = 0
        self._reload: Reload | None = None  # that no dispatcher has answered yet

    # A dispatcher's life

    def connect(self, channel: Channel) -> None:
        """Uses the channel to a new dispatcher, and sends it the unrecorded deaths."""
        self.channel = channel
        self._loop.add(channel.fileno(), self.receive)
        for death in self._unrecorded:
            self.send(death)

    def send_state(self, workers: Iterable[int]) -> None:
        """Sends the roster and all orders in force; call it after the workers were introduced.

        `workers` are the living workers, and dead workers whose processes are alive.
        """
        self.send(Roster(workers=list(workers)))
        if self._reload is not None:
            self.send(self._reload)
        if self.draining:
            self.send(Drain())
        if self.finishing:
            self.send(Finish())

    def receive(self) -> None:
        """Handles the messages that have arrived; closes the channel at its end."""
        if self.channel is None:
            return
        self._on_messages(self.channel.receive())
        if self.channel.closed:
            self.close()

    def close(self) -> None:
        """Closes the channel of a dispatcher that is dead; safe to call twice."""
        if self.channel is not None:
            self._loop.remove(self.channel.fileno())
            self.channel.close()
            self.channel = None

    # Messages

    def send(self, message: Message) -> None:
        """Sends a message; drops it if no dispatcher lives."""
        if self.channel is not None:
            self.channel.send(message)

    def send_worker(self, child: Child, connection: socket) -> None:
        """Introduces a worker, with the dispatcher's end of the connection to it."""
        if self.channel is not None:
            started = WorkerStarted(worker=child.slot, pid=child.pid)
            self.channel.send_socket(started, connection)

    def send_death(self, child: Child, *, clean: bool, begun: int | None) -> None:
        """Reports a dead worker; `begun` is the token of the run that it began last."""
        self._death_number += 1
        gone = WorkerGone(
            number=self._death_number,
            worker=child.slot,
            pid=child.pid,
            clean=clean,
            begun=begun,
            claims_before_s=times.NEVER_S,
        )
        self.send(gone)
        # For the next dispatcher: by then the pid may be reused, and so may the slot.
        self._unrecorded.append(replace(gone, pid=0, claims_before_s=times.monotonic_s()))

    def flush(self) -> None:
        """Sends the messages that did not fit before; call it before each wait of the loop."""
        if self.channel is not None:
            self.channel.flush_with(self._loop)

    # Orders, and the answers to them

    def reload(self, number: int) -> None:
        """Has the dispatcher, or the next one, read the conf file again."""
        self._reload = Reload(number=number)
        self.send(self._reload)

    def on_reloaded(self, number: int) -> None:
        """Forgets the reload if the dispatcher has answered it, or a later one."""
        if self._reload is not None and self._reload.number <= number:
            self._reload = None

    def drain(self) -> None:
        """Has the dispatcher, or the next one, claim no more jobs."""
        self.draining = True
        self.send(Drain())

    def finish(self) -> None:
        """Has the dispatcher, or the next one, record the rest and exit."""
        self.finishing = True
        self.send(Finish())

    def on_deaths_recorded(self, number: int) -> None:
        """Forgets the deaths up to this number, which the dispatcher has recorded."""
        self._unrecorded = [death for death in self._unrecorded if death.number > number]

    def all_recorded(self) -> bool:
        """Returns whether the deaths of all workers that may have held a run are recorded."""
        return all(death.clean for death in self._unrecorded)
