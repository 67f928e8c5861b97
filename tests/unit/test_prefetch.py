"""The runs that a worker holds ahead of time, and their inputs."""

from queued.core.runs import Key
from queued.service.ipc.messages import Input
from queued.service.worker.prefetch import PrefetchQueue


def test_an_input_whose_run_did_not_come_is_forgotten_with_its_dispatcher() -> None:
    queue = PrefetchQueue()
    queue.add_input(Input(key=Key(1, 1, 7), content=b"half"))
    queue.forget_incomplete()
    assert queue.take_input(Key(1, 1, 7)) == b""
