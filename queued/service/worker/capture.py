"""Keeps the head and the tail of an output stream within a limit, and hands them on in pieces.

Pure: bytes go in, pieces come out. A piece that was handed on is kept until it is acknowledged, so
that it can be handed on again, to another dispatcher.
"""

from collections import deque

from queued.core.runs import Chunk
from queued.service.ipc.messages import Piece

CHUNK = 64 * 1024
_LAST_BYTES = 512
_FULL_HEAD = 8  # pieces


class Capture:
    """One output stream of one run. Keeps at most `limit` bytes: half as head and half as tail."""

    def __init__(self, stream: int, limit: int) -> None:
        self.stream = stream
        self._head_end = (limit + 1) // 2
        self._tail_size = limit - self._head_end
        self._piece_size = max(1, min(CHUNK, self._tail_size // 4))
        self._head: deque[Chunk] = deque()
        self._tail: deque[Chunk] = deque()
        self._handed: deque[Chunk] = deque()
        self._open = bytearray()
        self._open_at = 0
        self.total = 0
        self.waiting = 0  # bytes that are kept and not handed on
        self.last_bytes = b""

    def append(self, content: bytes) -> None:
        """Appends what the command printed; drops what is neither head nor tail."""
        before = self.last_bytes if len(content) < _LAST_BYTES else b""
        self.last_bytes = (before + content[-_LAST_BYTES:])[-_LAST_BYTES:]
        room = self._head_end - self.total
        if room > 0:
            self._keep(content[:room], CHUNK)
            content = content[room:]
        if self.total == self._head_end:
            self._close()  # so that no piece is in both head and tail
        skipped = max(0, len(content) - self._tail_size)
        if skipped:
            self._close()
            self.total += skipped
            content = content[skipped:]
        self._keep(content, self._piece_size)
        self._forget()

    def next_piece(self) -> Piece | None:
        """Hands on the next piece and returns it; None if none waits."""
        if not self._head and not self._tail:
            self._close()
        source = self._head or self._tail
        if not source:
            return None
        chunk = source.popleft()
        self._handed.append(chunk)
        self.waiting -= len(chunk.content)
        end = chunk.position + len(chunk.content)
        return Piece(chunk, self._head_end, end - self._tail_size)

    @property
    def should_flush(self) -> bool:
        """Whether much of the head waits: all of it is stored, so that waiting saves nothing."""
        return len(self._head) >= _FULL_HEAD

    @property
    def unacknowledged(self) -> int:
        """How many pieces were handed on and are not acknowledged."""
        return len(self._handed)

    def acknowledge(self, end: int) -> None:
        """Drops the pieces before this position, which are durable."""
        while self._handed and self._handed[0].position < end:
            self._handed.popleft()

    def rewind(self) -> None:
        """Makes all pieces that are not acknowledged wait again."""
        while self._handed:
            chunk = self._handed.pop()
            self.waiting += len(chunk.content)
            (self._head if chunk.position < self._head_end else self._tail).appendleft(chunk)
        self._forget()

    def _keep(self, content: bytes, size: int) -> None:
        for start in range(0, len(content), size):
            part = content[start : start + size]
            if len(self._open) + len(part) > size:
                self._close()
            if not self._open:
                self._open_at = self.total
            self._open += part
            self.total += len(part)
            self.waiting += len(part)

    def _close(self) -> None:
        if self._open:
            chunk = Chunk(self.stream, self._open_at, bytes(self._open))
            (self._head if self._open_at < self._head_end else self._tail).append(chunk)
            self._open.clear()

    def _forget(self) -> None:
        start = self.total - self._tail_size
        while self._tail and self._tail[0].position < start:
            self.waiting -= len(self._tail.popleft().content)
