"""Logs what commands print, line by line, where the setting `log_output` asks for it.

What is kept of the output is what is logged, once it is stored: a line follows the command by half
a second, and the middle of a long output is missing here as it is there.
"""

from collections.abc import Iterator

from queued.core.model import STDERR, STDOUT, Chunk, Claim, Key
from queued.service.dispatcher.job_log import names
from queued.service.dispatcher.turn import Turn
from queued.service.log import Log

_LONGEST = 8192  # bytes of a line; the rest of it is another, so that no journal cuts one
_STREAMS = {STDOUT: "stdout", STDERR: "stderr"}


class OutputLog:
    """Puts lines together that came in pieces."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._open: dict[Key, dict[int, bytes]] = {}

    def tell(self, turn: Turn) -> None:
        """Logs the lines of a committed turn; the last of a run that has ended, complete or not."""
        for claim, chunk in turn.printed:
            self._take(claim, chunk)
        for finished in turn.finished:
            for stream, rest in self._open.pop(finished.claim.key, {}).items():
                if rest:
                    self._write(finished.claim, stream, rest)

    def _take(self, claim: Claim, chunk: Chunk) -> None:
        rests = self._open.setdefault(claim.key, {})
        *lines, rest = (rests.get(chunk.stream, b"") + chunk.content).split(b"\n")
        for line in lines:
            self._write(claim, chunk.stream, line)
        *full, rests[chunk.stream] = _parts(rest)
        for part in full:
            self._write(claim, chunk.stream, part)

    def _write(self, claim: Claim, stream: int, line: bytes) -> None:
        for part in _parts(line):
            text = part.decode("utf-8", "replace").removesuffix("\r")
            self._log.info("job.printed", **names(claim), stream=_STREAMS[stream], line=text)


def _parts(line: bytes) -> Iterator[bytes]:
    """The line in parts that are not too long; one empty part if it is empty."""
    yield line[:_LONGEST]
    for start in range(_LONGEST, len(line), _LONGEST):
        yield line[start : start + _LONGEST]
