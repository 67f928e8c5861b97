"""The output of a run flows as fast as it is stored, and its memory stays bounded if it is not."""

import os
from contextlib import suppress

from queued.core.runs import STDOUT
from queued.service.ipc.messages import Message, Output
from queued.service.linux.event_loop import EventLoop
from queued.service.worker.output_forwarder import OutputForwarder
from queued.service.worker.output_streams import OutputStreams
from queued.service.worker.spawn import Pipes
from tests.claims import make_run

MIB = 1 << 20
PART = bytes(65_536)  # fits into a pipe
NOW_S = 1000.0  # the clock stands still, so that output is never due because of its age


class Flood:
    """The output of a run that prints without end, and a dispatcher that may store it."""

    def __init__(self, limit: int) -> None:
        run = make_run(output_limit=limit)
        self.output = OutputStreams(limit)
        self.printed = 0
        self.sent_bytes = 0
        self._sent_end = 0
        self.most_waiting = 0
        read, self._write = os.pipe2(os.O_NONBLOCK)
        self.output.watch(Pipes(read, None))
        self._loop = EventLoop()
        self._forwarder = OutputForwarder(run, self.output, self._loop, self._send, NOW_S)

    def print_while_read(self, size: int, *, stored: bool) -> None:
        """Prints `size` bytes, or fewer if the worker neither reads nor sends any more."""
        before = None
        while self.printed < size and before != (
            before := (self.output.totals.stdout, self.sent_bytes)
        ):
            with suppress(BlockingIOError):
                self.printed += os.write(self._write, PART)
            self._loop.wait(0)
            self._forwarder.tick(NOW_S)
            if stored:  # the dispatcher acknowledges it once it is durable
                self.output.stored(STDOUT, self._sent_end)
            self.most_waiting = max(self.most_waiting, self.output.waiting)

    def _send(self, message: Message) -> None:
        assert isinstance(message, Output)
        chunk = message.piece.chunk
        self.sent_bytes += len(chunk.content)
        self._sent_end = chunk.position + len(chunk.content)

    def close(self) -> None:
        os.close(self._write)
        self.output.drain()


def test_a_large_limit_does_not_stop_output_that_is_stored() -> None:
    """Much of the tail waits, too. Reading had stopped until time had passed again and again."""
    flood = Flood(80 * MIB)
    flood.print_while_read(120 * MIB, stored=True)
    assert flood.printed == 120 * MIB
    assert flood.most_waiting <= 16 * MIB + len(PART)
    flood.close()


def test_output_that_is_not_stored_is_not_read_for_ever() -> None:
    flood = Flood(80 * MIB)
    flood.print_while_read(120 * MIB, stored=False)
    assert flood.sent_bytes == 8 * len(PART)
    assert flood.printed <= 18 * MIB
    assert flood.output.waiting <= 16 * MIB + len(PART)
    flood.close()
