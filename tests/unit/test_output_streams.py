"""The rest of the output, which is in the pipe when the command has ended."""

import os

from queued.service.worker.output_streams import OutputStreams
from queued.service.worker.spawn import Pipes

PIPE = 65_536  # bytes that fit into one


def test_the_rest_of_a_pipe_is_read_at_the_end_and_the_pipe_closed() -> None:
    streams = OutputStreams(1 << 20)
    read, write = os.pipe2(os.O_NONBLOCK)
    streams.watch(Pipes(read, None))
    os.write(write, bytes(PIPE))
    streams.drain()
    assert streams.totals == (PIPE, 0)
    assert streams.descriptors() == []
    assert not os.path.exists(f"/proc/self/fd/{read}")
    os.close(write)


def test_two_pipes_are_two_streams() -> None:
    streams = OutputStreams(1 << 20)
    (out, out_write), (err, err_write) = os.pipe2(os.O_NONBLOCK), os.pipe2(os.O_NONBLOCK)
    streams.watch(Pipes(out, err))
    os.write(out_write, b"12345")
    os.write(err_write, b"123")
    os.close(out_write)
    os.close(err_write)
    assert streams.read(out)
    assert not streams.read(out), "the end"
    streams.close(out)
    streams.drain()
    assert streams.totals == (5, 3)
    assert streams.last_bytes == b"123", "of standard error, if it has any"
    assert [piece.chunk.content for piece in streams.pieces(100)] == [b"12345", b"123"]


def test_a_process_that_goes_on_printing_is_not_read_for_ever() -> None:
    streams = OutputStreams(1 << 20)
    zero = os.open("/dev/zero", os.O_RDONLY)
    streams.watch(Pipes(zero, None))
    streams.drain()
    assert streams.totals[0] <= 2 << 20
