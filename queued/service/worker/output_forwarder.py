"""Takes what a run prints from its pipes and hands it on to the dispatcher, while it goes on."""

from collections.abc import Callable
from functools import partial

from queued.core import times
from queued.service.ipc.messages import Message, Output, Run
from queued.service.linux.event_loop import Wake
from queued.service.worker.capture import CHUNK
from queued.service.worker.output_streams import Streams

_FLUSH_S = 0.5  # output reaches the dispatcher within this time
_IN_FLIGHT = 8  # pieces of output that may wait for their acknowledgement


class Tap:
    """On the streams of one run, from now on."""

    def __init__(
        self, run: Run, streams: Streams, wake: Wake, send: Callable[[Message], None], now_s: float
    ) -> None:
        self._run = run
        self._streams = streams
        self._wake = wake
        self._send = send
        self._flushed_s = now_s
        self.next_s = now_s  # when `tick` has something to do
        for descriptor in streams.descriptors():
            wake.add(descriptor, partial(self._read, descriptor))

    def tick(self, now_s: float) -> None:
        """Does what is due. Call it whenever the worker was awake, too: output may have come."""
        if self._flush_s() <= now_s:
            self._flush(now_s)
        self.next_s = self._flush_s()

    def end(self) -> None:
        """The run is over."""
        for descriptor in self._streams.descriptors():
            self._wake.remove(descriptor)

    def _read(self, descriptor: int) -> None:
        if not self._streams.read(descriptor):
            self._wake.remove(descriptor)
            self._streams.close(descriptor)

    def _flush_s(self) -> float:
        """When output is to be handed on; not before what was handed on is durable."""
        if not self._streams.waiting or self._streams.unacknowledged >= _IN_FLIGHT:
            return times.NEVER_S
        return 0.0 if self._streams.pressing else self._flushed_s + _FLUSH_S

    def _flush(self, now_s: float) -> None:
        room = _IN_FLIGHT - self._streams.unacknowledged
        for piece in self._streams.pieces(room * CHUNK):
            self._send(Output(key=self._run.key, piece=piece))
        self._flushed_s = now_s
