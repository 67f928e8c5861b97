"""The output of one run, on its way from the pipes through the captures to the dispatcher."""

import os
from typing import NamedTuple

from queued.core.runs import STDERR, STDOUT
from queued.service.ipc.messages import Piece
from queued.service.worker.capture import CHUNK, Capture
from queued.service.worker.spawn import Pipes

_LEFT_IN_PIPE = 1 << 20  # most bytes at the end: a process left on purpose may go on printing


class Totals(NamedTuple):
    """Bytes printed to each stream; all bytes count as stdout if the streams are not split."""

    stdout: int
    stderr: int


class OutputStreams:
    """The output of a run: one stream, or two kept apart. Keeps `limit` bytes of each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._captures: list[Capture] = []  # of the streams that were used, stdout first
        self._pipes: dict[int, int] = {}  # the stream of each open pipe

    # From the command

    def watch(self, pipes: Pipes) -> None:
        """Adds the pipes of the command."""
        self._pipes[pipes.stdout] = STDOUT
        if pipes.stderr is not None:
            self._pipes[pipes.stderr] = STDERR

    def descriptors(self) -> list[int]:
        """Returns the open pipes."""
        return list(self._pipes)

    def read(self, descriptor: int) -> bool:
        """Reads the pipe once; returns False at its end."""
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
        """Reads what the pipes hold, and closes them. Call it once the run is over."""
        for descriptor, stream in self._pipes.items():
            room = _LEFT_IN_PIPE
            try:
                while room > 0 and (content := os.read(descriptor, CHUNK)):
                    self._capture(stream).append(content)
                    room -= len(content)
            except BlockingIOError:
                pass  # the pipe is empty, and a process that was left on purpose holds it open
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
        """Hands on about `size` bytes and returns them, from the streams in turn."""
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
        """How many bytes of output wait to be handed on."""
        return sum(capture.waiting for capture in self._captures)

    @property
    def should_flush(self) -> bool:
        """Whether so much output waits that it should be sent at once."""
        return any(capture.should_flush for capture in self._captures)

    @property
    def unacknowledged(self) -> int:
        """How many pieces were handed on and are not yet durable."""
        return sum(capture.unacknowledged for capture in self._captures)

    def stored(self, stream: int, end: int) -> None:
        """Drops the output of the stream before the position `end`, which is durable."""
        for capture in self._captures:
            if capture.stream == stream:
                capture.acknowledge(end)

    def rewind(self) -> None:
        """Makes all output that is not durable wait again, for another dispatcher."""
        for capture in self._captures:
            capture.rewind()

    # How it was

    @property
    def totals(self) -> Totals:
        """How many bytes were printed, dropped ones included."""
        totals = [0, 0]
        for capture in self._captures:
            totals[capture.stream - STDOUT] = capture.total
        return Totals(*totals)

    @property
    def last_bytes(self) -> bytes:
        """The end of the output: of standard error if it was used, else of standard output."""
        return self._captures[-1].last_bytes if self._captures else b""
