"""The output of one run on its way: out of its pipes, into the captures, on to the dispatcher."""

import os
from typing import NamedTuple

from queued.core.model import STDERR, STDOUT
from queued.service.ipc.messages import Piece
from queued.service.worker.capture import CHUNK, Capture
from queued.service.worker.spawn import Pipes

_LEFT_IN_PIPE = 1 << 20  # a process that was left alive on purpose may print for ever


class Totals(NamedTuple):
    """Bytes printed to each stream; all of them to stdout if the two are not kept apart."""

    stdout: int
    stderr: int


class OutputStreams:
    """What a run printed: one stream, or two kept apart. `limit`: bytes of each that are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._captures: list[Capture] = []  # of those on which anything came, stdout first
        self._pipes: dict[int, int] = {}  # which stream comes from it

    # From the command

    def watch(self, pipes: Pipes) -> None:
        """Reads from these from now on."""
        self._pipes[pipes.stdout] = STDOUT
        if pipes.stderr is not None:
            self._pipes[pipes.stderr] = STDERR

    def descriptors(self) -> list[int]:
        """The pipes that are open."""
        return list(self._pipes)

    def read(self, descriptor: int) -> bool:
        """Reads the pipe once; returns False if it is closed on the other side."""
        try:
            content = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return True
        if content:
            self._capture(self._pipes[descriptor]).append(content)
        return bool(content)

    def close(self, descriptor: int) -> None:
        """Closes a pipe that is at its end."""
        del self._pipes[descriptor]
        os.close(descriptor)

    def drain(self) -> None:
        """Takes what the pipes hold now, and closes them; call it once the run is over."""
        for descriptor, stream in self._pipes.items():
            room = _LEFT_IN_PIPE
            try:
                while room > 0 and (content := os.read(descriptor, CHUNK)):
                    self._capture(stream).append(content)
                    room -= len(content)
            except BlockingIOError:
                pass  # all that was printed is read; a process that was left may hold the pipe
            os.close(descriptor)
        self._pipes.clear()

    def _capture(self, stream: int) -> Capture:
        for capture in self._captures:
            if capture.stream == stream:
                return capture
        made = Capture(stream, self._limit)
        self._captures.insert(len(self._captures) if stream == STDERR else 0, made)
        return made

    # To the dispatcher

    def pieces(self, size: int) -> list[Piece]:
        """Returns about `size` bytes that were not handed on yet, stream by stream in turn."""
        taken: list[Piece] = []
        sources = list(self._captures)
        while sources and size > 0:
            capture = sources.pop(0)
            if (piece := capture.next_piece()) is not None:
                taken.append(piece)
                size -= len(piece.chunk.content)
                sources.append(capture)
        return taken

    @property
    def waiting(self) -> int:
        """Bytes of output that were not handed on."""
        return sum(capture.waiting for capture in self._captures)

    @property
    def should_flush(self) -> bool:
        """Whether there is output that will not be dropped and need not wait for more."""
        return any(capture.should_flush for capture in self._captures)

    @property
    def unacknowledged(self) -> int:
        """Pieces that were handed on and are not yet durable."""
        return sum(capture.unacknowledged for capture in self._captures)

    def stored(self, stream: int, end: int) -> None:
        """Notes that the stream's output is durable up to the position `end`."""
        for capture in self._captures:
            if capture.stream == stream:
                capture.acknowledge(end)

    def rewind(self) -> None:
        """Hands on again, to another dispatcher, what was not durable."""
        for capture in self._captures:
            capture.rewind()

    # How it was

    @property
    def totals(self) -> Totals:
        """How many bytes were printed."""
        totals = [0, 0]
        for capture in self._captures:
            totals[capture.stream - STDOUT] = capture.total
        return Totals(*totals)

    @property
    def last_bytes(self) -> bytes:
        """The end of what it printed, of standard error if there is any."""
        return self._captures[-1].last_bytes if self._captures else b""
