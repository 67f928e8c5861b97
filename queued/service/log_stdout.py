"""Standard output of the service, written without blocking: a file, pipe, terminal or socket."""

import errno
import os
import select
import signal
import socket
import stat


class StandardOutput:
    """Standard output, written without blocking.

    O_NONBLOCK must not be set on the open file description, because other programs share it. A
    pipe or a terminal is opened once more, which makes a description of our own. A socket takes a
    flag with each packet. If a pipe may not be opened again (it is another user's, as under
    supervisord), each piece of PIPE_BUF bytes is written with RWF_NOWAIT after poll(2) has found
    room. Linux before 6.4 knows that flag only for files: there a write can block if another
    process fills the pipe between the two calls. A file never blocks because of its reader.
    """

    def __init__(self) -> None:
        self._descriptor = 1
        self._socket: socket.socket | None = None
        self._piece = 1 << 30  # bytes to write at once
        self._shared = False  # whether other programs share the open file description
        self._terminal = os.isatty(1)
        mode = os.fstat(1).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(1))
        elif stat.S_ISFIFO(mode) or self._terminal:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._descriptor = os.open("/proc/self/fd/1", flags)
            except OSError:
                self._piece, self._shared = select.PIPE_BUF, True
        self._blocks = not stat.S_ISREG(mode)
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)

    def write(self, content: bytes, patience_s: float) -> bytes:
        """Returns what could not be written within the time. Raises OSError."""
        while content and (not self._blocks or self._room.poll(patience_s * 1000)):
            try:
                content = content[self._write(content[: self._piece]) :]
            except BlockingIOError:
                return content
        return content

    def _write(self, content: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(content, socket.MSG_DONTWAIT)
        if self._shared:
            try:
                return os.pwritev(self._descriptor, [content], -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
        if not self._terminal:
            return os.write(self._descriptor, content)
        # With `stty tostop`, a terminal refuses each write of a background process by this signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            return os.write(self._descriptor, content)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
