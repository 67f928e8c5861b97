"""Ten thousand messages to the dispatcher that none of its workers would send harm nobody else."""

import os
import random
import socket
from collections.abc import Callable

import msgspec

from queued.core.model import Chunk, Ending, Key, Outcome
from queued.service.ipc import channel, messages
from queued.service.ipc.messages import Hello, Output, Piece, Result
from tests.crash.kill_scenario import Scene
from tests.open_descriptors import targets
from tests.service import Service, eventually

MESSAGES = 10_000


def _encode(message: messages.Message) -> bytes:
    return msgspec.msgpack.encode([message])


def _addresses(service: Service) -> list[bytes]:
    """The abstract addresses that the supervisor listens on: its sockets, by their inodes."""
    sockets = [target for target in targets(service.pid) if target.startswith("socket:[")]
    inodes = {target[len("socket:[") : -1] for target in sockets}
    with open("/proc/net/unix", encoding="ascii", errors="replace") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return [b"\0" + row[7][1:].encode() for row in rows if row[6] in inodes and row[7:]]


class Stranger:
    """Somebody of our own user who connects, and is thrown out, again and again."""

    def __init__(self, address: bytes, dice: random.Random) -> None:
        self._address = address
        self._dice = dice
        self._socket = self._connect()
        self.thrown_out = 0

    def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.settimeout(20)
        made.connect(self._address)
        return made

    def say(self) -> None:
        """One more message."""
        kinds: list[Callable[[], bytes]] = [
            self._noise, self._cut_off, self._wrong_place, self._claims, self._deep, self._huge,
        ]  # fmt: skip
        packet = self._dice.choice(kinds)()
        try:
            self._socket.send(packet)
            if self._dice.random() < 0.3 and not self._socket.recv(1):
                raise ConnectionResetError
        except (ConnectionError, BrokenPipeError):
            self.thrown_out += 1
            self._socket.close()
            self._socket = self._connect()
        except TimeoutError:
            msg = f"the dispatcher takes it, and says nothing: {packet[:200]!r}"
            raise AssertionError(msg) from None

    def close(self) -> None:
        """Goes."""
        self._socket.close()

    def _noise(self) -> bytes:
        return self._dice.randbytes(self._dice.choice([1, 2, 7, 300, 9000]))

    def _cut_off(self) -> bytes:
        whole = _encode(self._result())
        return whole[: self._dice.randrange(1, len(whole))]

    def _wrong_place(self) -> bytes:
        """A message that is not for the dispatcher, or a worker's without a hello."""
        wrong: list[messages.Message] = [
            messages.Finish(),
            messages.Drain(),
            messages.Renew(),
            messages.Roster(workers=[(1, os.getpid())]),
            messages.WorkerGone(worker=1, pid=1, clean=False, begun=0, until_s=0.0),
            messages.WorkerStarted(worker=1, pid=os.getpid()),
            messages.Recorded(key=self._key(), accepted=True),
            messages.Ready(),
            messages.Fatal(exit_code=0, reason=""),
            self._result(),
            Output(key=self._key(), piece=Piece(Chunk(1, 0, b"x"), 0, 0)),
        ]
        return _encode(self._dice.choice(wrong))

    def _claims(self) -> bytes:
        """To be a worker that it is not, and that the kernel knows it is not."""
        pid = self._dice.choice([1, os.getppid(), -1, 2**40])
        number = self._dice.choice([0, 1, 2, -1, 2**31])
        return _encode(
            Hello(protocol=messages.PROTOCOL, worker=number, pid=pid, holding=[self._key()])
        )

    def _deep(self) -> bytes:
        return b"\x91" * self._dice.choice([10, 5000, 60_000])

    def _huge(self) -> bytes:
        return _encode(self._result()) + bytes(self._dice.choice([1, 100_000, 180_000]))

    def _key(self) -> Key:
        return Key(self._dice.choice([1, 2, -1, 2**62]), 1, self._dice.getrandbits(62))

    def _result(self) -> Result:
        ending = Ending(Outcome.EXIT, exit_code=self._dice.choice([0, 1, 2**40]))
        return Result(key=self._key(), ending=ending, pieces=[])


def test_ill_formed_messages_harm_nobody(scene: Scene) -> None:
    service = scene.serve(workers=2).ready()
    children = [service.child(slot) for slot in (0, 1, 2)]
    (address,) = set(_addresses(service))
    stranger = Stranger(address, random.Random(1))
    for n in range(MESSAGES):
        if n % 500 == 0:
            scene.add(f"j{n}", "seq 3; sleep 0.1", prints=b"1\n2\n3\n")
        stranger.say()
    stranger.close()
    assert stranger.thrown_out > MESSAGES // 20
    assert [service.child(slot) for slot in (0, 1, 2)] == children
    assert scene.broken() == []
    assert {job.runs for job in scene.queue.jobs()} == {1}
    assert not service.logged("process.failed")


def test_who_says_hello_and_is_no_worker_gets_no_job(scene: Scene) -> None:
    """The pid is its own, the number a worker's: the supervisor named another process for it."""
    service = scene.serve(workers=1).ready()
    (address,) = set(_addresses(service))
    stranger = channel.connect(address)
    stranger.send(Hello(protocol=messages.PROTOCOL, worker=1, pid=os.getpid(), holding=[]))
    for n in range(5):
        scene.add(f"j{n}", "true")
    assert scene.broken() == []
    assert stranger.receive() == []
    stranger.close()


def test_who_speaks_another_version_is_thrown_out(scene: Scene) -> None:
    service = scene.serve(workers=1).ready()
    (address,) = set(_addresses(service))
    stranger = channel.connect(address)
    stranger.send(Hello(protocol=messages.PROTOCOL - 1, worker=1, pid=os.getpid(), holding=[]))
    (told,) = eventually(lambda: service.logged("worker.refused"))
    assert told["reason"] == f"it speaks version 1 of the protocol, not {messages.PROTOCOL}"
    eventually(lambda: stranger.receive() == [] and stranger.closed)
    stranger.close()
    assert scene.broken() == []
