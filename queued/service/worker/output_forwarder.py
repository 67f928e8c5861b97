"""Reads the output of a run from its pipes and sends it to the dispatcher while the run goes on."""

from collections.abc import Callable
from functools import partial

from queued.core import times
from queued.service.ipc.messages import Message, Output, Run
from queued.service.linux.event_loop import EventLoop
from queued.service.worker.capture import CHUNK
from queued.service.worker.output_streams import OutputStreams

_FLUSH_S = 0.5  # output reaches the dispatcher within this time
_IN_FLIGHT = 8  # pieces of output that may wait for their acknowledgement
_FULL = 16 << 20  # waiting bytes at which reading stops, until they are half as many


class OutputForwarder:
    """Reads and sends the output of one run, from its creation until `end`."""

    def __init__(
        self,
        run: Run,
        output: OutputStreams,
        loop: EventLoop,
        send: Callable[[Message], None],
        now_s: float,
    ) -> None:
        self._run = run
        self._output = output
        self._loop = loop
        self._send = send
        self._flushed_s = now_s
        self.next_s = now_s  # call `tick` then
        self._reading = False
        self._start_reading()

    def tick(self, now_s: float) -> None:
        """Sends output that is due. Call it after each wake-up, because output may have come."""
        if self._flush_s() <= now_s:
            self._flush(now_s)
        if not self._reading and self._output.waiting < _FULL // 2:
            self._start_reading()
        self.next_s = self._flush_s()

    def end(self) -> None:
        """Stops reading: the run is over."""
        self._stop_reading()

    def _start_reading(self) -> None:
        self._reading = True
        for descriptor in self._output.descriptors():
            self._loop.add(descriptor, partial(self._read, descriptor))

    def _stop_reading(self) -> None:
        self._reading = False
        for descriptor in self._output.descriptors():
            self._loop.remove(descriptor)

    def _read(self, descriptor: int) -> None:
        if not self._output.read(descriptor):
            self._loop.remove(descriptor)
            self._output.close(descriptor)
        elif self._output.waiting >= _FULL:
            self._stop_reading()

    def _flush_s(self) -> float:
        """Returns when output is due: never while too many pieces are not acknowledged.

        It is due at once while reading is stopped, because the command waits then.
        """
        if not self._output.waiting or self._output.unacknowledged >= _IN_FLIGHT:
            return times.NEVER_S
        at_once = self._output.should_flush or not self._reading
        return 0.0 if at_once else self._flushed_s + _FLUSH_S

    def _flush(self, now_s: float) -> None:
        room = _IN_FLIGHT - self._output.unacknowledged
        for piece in self._output.pieces(room * CHUNK):
            self._send(Output(key=self._run.key, piece=piece))
        self._flushed_s = now_s
