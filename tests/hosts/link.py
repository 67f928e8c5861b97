"""The network between one host and the PostgreSQL server: a proxy that a test cuts and heals."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_NAME = ".s.PGSQL.5432"


class Link:
    """Passes bytes between connections to `directory` and the server whose socket is in `server`.

    While it is cut, in both directions or in one, bytes are kept and no connection is closed, as if
    a cable were pulled.
    """

    def __init__(self, directory: Path, server: Path) -> None:
        self.directory = directory
        self._server = str(server / _NAME)
        self._requests_pass, self._answers_pass = threading.Event(), threading.Event()
        self.heal()
        self._sockets: list[socket.socket] = []
        self._fault: Callable[[bytes], bool] | None = None
        self._passes_fault = False
        self.requests = 0  # pieces that clients have sent
        self.delay_s: Callable[[], float] = lambda: 0.0  # of the next piece, in each direction
        directory.mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / _NAME))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=target, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def cut(self, *, requests: bool = True, answers: bool = True) -> None:
        """Lets nothing pass in these directions."""
        for chosen, passes in ((requests, self._requests_pass), (answers, self._answers_pass)):
            if chosen:
                passes.clear()

    def heal(self) -> None:
        """Lets all pass again, what was kept first."""
        self._requests_pass.set()
        self._answers_pass.set()

    def reset(self) -> None:
        """Closes all connections, as a restart of a router does."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            _end(each)

    def lose_commit(self, *, answer_only: bool) -> threading.Event:
        """Closes the connection of the next COMMIT; returns an event that is set then.

        `answer_only`: the server gets the COMMIT, and only its answer is lost.
        """
        lost = threading.Event()

        def fault(content: bytes) -> bool:
            if b"COMMIT\0" not in content:  # BEGIN names READ COMMITTED
                return False
            self._fault = None
            lost.set()
            return True

        self._fault, self._passes_fault = fault, answer_only
        return lost

    def close(self) -> None:
        """Closes all connections and takes no more."""
        _end(self._listener)
        self.heal()
        self.reset()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._listener:
            while True:
                try:
                    client, _ = self._listener.accept()
                except OSError:
                    return
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:  # the server is down
                    client.close()
                    server.close()
                    continue
                self._sockets += [client, server]
                self._start(self._ask, client, server)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """Passes what the client sends, and in another thread the answers."""
        with client, server:
            words = (server, client, self._answers_pass)
            answers = threading.Thread(target=self._pass, args=words, daemon=True)
            answers.start()
            self._pass(client, server, self._requests_pass, self._is_fault)
            answers.join()

    def _is_fault(self, content: bytes) -> bool:
        self.requests += 1
        return self._fault is not None and self._fault(content)

    def _pass(
        self,
        source: socket.socket,
        target: socket.socket,
        may_pass: threading.Event,
        is_fault: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                time.sleep(self.delay_s())
                may_pass.wait()
                if is_fault(content):
                    if self._passes_fault:
                        source.shutdown(socket.SHUT_RDWR)  # first, so that no answer passes
                        target.sendall(content)
                    break
                target.sendall(content)
        _end(source)
        _end(target)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
