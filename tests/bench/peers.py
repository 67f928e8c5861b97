"""The same work done by other queues. A peer that is not installed is reported as absent."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from tests.bench.measure import Row, Size, at_least, drain_s, median, place, timed

_HUEY = """
import sys
from huey import SqliteHuey
huey = SqliteHuey(filename=sys.argv[1])
@huey.task()
def run(command):
    import subprocess
    subprocess.run(["sh", "-c", command])
if __name__ == "__main__":
    for _ in range(int(sys.argv[2])):
        run("true")
"""
_LITEQUEUE = """
import subprocess, sys
from litequeue import LiteQueue
queue = LiteQueue(sys.argv[1])
while (message := queue.pop()) is not None:
    subprocess.run(["sh", "-c", message.data])
    queue.done(message.message_id)
"""


class Peer(NamedTuple):
    """A program, how to install it, and the seconds for so many jobs `true`, two at a time.

    `most` is how many jobs it can have waiting.
    """

    name: str
    package: str
    there: Callable[[], bool]
    seconds: Callable[[int], float]
    most: int = 1000


def ahead_of_each(size: Size) -> list[Row]:
    """Compares 8 of our workers with each peer in turn."""
    return [_against(peer, size) for peer in PEERS]


def _against(peer: Peer, size: Size) -> Row:
    jobs = min(size.jobs, peer.most)
    what = f"{jobs} jobs, 8 workers"
    if not peer.there():
        return Row(what, peer.name, None, ">= 1", f"absent: {peer.package}")
    got = [peer.seconds(jobs) / drain_s(8, jobs) for _ in range(size.pairs)]
    value = median(got)
    return at_least(what, peer.name, value, 1)


def _has(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


def _module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _sh(script: str, **variables: str) -> None:
    subprocess.run(["bash", "-c", script], check=True, env={**os.environ, **variables},
                   stdout=subprocess.DEVNULL)  # fmt: skip


def _tsp(count: int) -> float:
    """Enqueued behind a blocked slot, so that only running is timed.

    Each job that waits has a connection to the server, which uses select(2).
    """
    with place() as directory:
        env = {"TS_SOCKET": f"{directory}/socket", "TMPDIR": directory, "N": str(count),
               "TS_MAXFINISHED": "10", "TS_MAXCONN": "1000"}  # fmt: skip
        _sh("tsp -S 1; tsp -n sleep 1000; for i in $(seq $N); do tsp -n sh -c true; done", **env)
        seconds = timed(lambda: _sh("tsp -S 2; tsp -k 0; tsp -n -d true; tsp -w", **env))
        _sh("tsp -K", **env)
        return seconds


def _nq(count: int) -> float:
    """nq runs a directory's jobs one after the other; two directories make two at a time."""
    with place() as directory:
        script = "for i in $(seq $(($N / 2))); do nq sh -c true; done; nq -w"
        return timed(
            lambda: _sh(
                f"for d in a b; do mkdir -p $DIR/$d; (export NQDIR=$DIR/$d; {script}) & done; wait",
                DIR=directory, N=str(count),
            )
        )  # fmt: skip


def _parallel(count: int) -> float:
    return timed(lambda: _sh("seq $N | parallel --will-cite -j2 -n1 sh -c true", N=str(count)))


def _huey(count: int) -> float:
    with place() as directory:
        module = os.path.join(directory, "tasks.py")
        with open(module, "w", encoding="utf-8") as file:
            file.write(_HUEY)
        database = os.path.join(directory, "huey.db")
        subprocess.run([sys.executable, module, database, str(count)], check=True)
        consumer = (
            "import sys, tasks; sys.argv=['c', sys.argv[1]];"
            "c=tasks.huey.create_consumer(workers=2, worker_type='process', periodic=False,"
            " initial_delay=0.01, backoff=1.0); c.start()\n"
            "import time\nwhile len(tasks.huey): time.sleep(0.01)\nc.stop(graceful=True)"
        )
        return timed(
            lambda: subprocess.run(
                [sys.executable, "-c", consumer, database], cwd=directory, check=True,
                stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip


def _litequeue(count: int) -> float:
    with place() as directory:
        database = os.path.join(directory, "lite.db")
        from litequeue import LiteQueue  # type: ignore[import-not-found,import-untyped,unused-ignore]

        queue = LiteQueue(database)
        for _ in range(count):
            queue.put("true")
        queue.close()

        def run() -> None:
            workers = [
                subprocess.Popen([sys.executable, "-c", _LITEQUEUE, database]) for _ in range(2)
            ]
            for worker in workers:
                worker.wait()

        return timed(run)


PEERS = (
    Peer("task-spooler -S 2", "apt-get install task-spooler", _has("tsp"), _tsp, 900),
    Peer("nq, two directories", "apt-get install nq", _has("nq"), _nq),
    Peer("parallel -j2", "apt-get install parallel", _has("parallel"), _parallel),
    Peer("huey, 2 processes", "pip install huey", _module("huey"), _huey),
    Peer("litequeue, 2 loops", "pip install litequeue", _module("litequeue"), _litequeue),
)
