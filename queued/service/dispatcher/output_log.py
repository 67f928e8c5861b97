"""Logs the output of commands line by line, if the setting `log_output` is on.

Output is logged after it was stored, up to half a second after it was printed. The middle of a
long output is not stored, and not logged. Of a piece of output with very many lines only the first
are logged, because the dispatcher does nothing else meanwhile.
"""

from collections.abc import Iterator

from queued.core.runs import STDERR, STDOUT, Chunk, Claim, Key
from queued.service.dispatcher.job_log import names
from queued.service.dispatcher.turn_results import Turn
from queued.service.log import Log

_LONGEST = 8192  # bytes of a log line; a longer line is split, because the journal would cut it
_MOST_LINES = 1000  # of a piece, which has at most 64 KiB
_STREAMS = {STDOUT: "stdout", STDERR: "stderr"}


class OutputLog:
    """Joins chunks of output to lines."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._open: dict[Key, dict[int, bytes]] = {}

    def log_turn(self, turn: Turn) -> None:
        """Logs the lines of a committed turn, and the incomplete last lines of ended runs."""
        if not turn.settings.log_output:
            return
        for claim, chunk in turn.printed:
            self._join(claim, chunk)
        for finished in turn.finished:
            for stream, rest in self._open.pop(finished.claim.key, {}).items():
                if rest:
                    self._write(finished.claim, stream, rest)

    def _join(self, claim: Claim, chunk: Chunk) -> None:
        rests = self._open.setdefault(claim.key, {})
        *lines, rest = (rests.get(chunk.stream, b"") + chunk.content).split(b"\n")
        for line in lines[:_MOST_LINES]:
            self._write(claim, chunk.stream, line)
        if (omitted := len(lines) - _MOST_LINES) > 0:
            self._write(claim, chunk.stream, b"(%d more lines; see queuectl logs)" % omitted)
        *full, rests[chunk.stream] = _parts(rest)
        for part in full:
            self._write(claim, chunk.stream, part)

    def _write(self, claim: Claim, stream: int, line: bytes) -> None:
        for part in _parts(line):
            text = part.decode("utf-8", "replace").removesuffix("\r")
            self._log.info("job.printed", **names(claim), stream=_STREAMS[stream], line=text)


def _parts(line: bytes) -> Iterator[bytes]:
    """Yields the line in parts of at most `_LONGEST` bytes; one empty part if it is empty."""
    yield line[:_LONGEST]
    for start in range(_LONGEST, len(line), _LONGEST):
        yield line[start : start + _LONGEST]
