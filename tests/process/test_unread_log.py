"""A log of any kind that nothing reads stops neither jobs, nor time-outs, nor a stop."""

import json
import os
import pty
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queued.service.log import LogOutput
from tests.service import Queue


class Reader:
    """The reading end of a log that is not read until `read` is called."""

    def __init__(self, kind: str) -> None:
        if kind == "socket":
            ours, theirs = socket.socketpair()
            self.ours, self.theirs = ours.detach(), theirs.detach()
        elif kind == "pipe":
            self.ours, self.theirs = os.pipe()
        else:
            self.ours, self.theirs = pty.openpty()
            attributes = termios.tcgetattr(self.theirs)
            attributes[1] &= ~termios.OPOST
            termios.tcsetattr(self.theirs, termios.TCSANOW, attributes)

    def read(self) -> bytes:
        """Returns what is there now."""
        os.set_blocking(self.ours, False)
        content = b""
        try:
            while more := os.read(self.ours, 1 << 20):
                content += more
        except (BlockingIOError, OSError):
            pass
        return content

    def close(self) -> None:
        os.close(self.ours)


@pytest.fixture(params=["pipe", "socket", "terminal"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    with closing(Reader(request.param)) as made:
        yield made


def events(text: bytes) -> list[dict[str, Any]]:
    """The lines of JSON that are whole."""
    lines = text.replace(b"\r", b"").split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]


def test_jobs_time_outs_and_a_stop_go_on(queue: Queue, reader: Reader) -> None:
    service = subprocess.Popen(
        [
            sys.executable, "-m", "queued", "--db", queue.path, "--workers", "2",
            "--log-format", "json", "--log-level", "debug",
        ],
        stdout=reader.theirs,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "QUEUECTL_LOG_OUTPUT": "true"},
    )  # fmt: skip
    os.close(reader.theirs)
    try:
        queue.add_all([f"seq 100000 100400; : {n}" for n in range(30)])
        queue.wait_all(30)
        late = queue.add("sleep 60", timeout=0.2, max_retries=1)
        assert queue.wait(late).label == "dead"
        name = queue.add("sleep 0.3")
        queue.wait(name, "processing")
        before = reader.read()
        assert queue.wait(name).label == "completed"
        queue.wait(queue.add("true"))
        after = before + reader.read()
        assert any(line["event"] == "log.dropped" and line["lines"] > 0 for line in events(after))
        service.terminate()
        assert service.wait(20) == 0
    finally:
        service.kill()
        service.wait()


SHARED = """
import fcntl, os, sys
from queued.service.log import LogOutput
LogOutput("info", "json").log().info("service.started")
sys.exit(bool(fcntl.fcntl(1, fcntl.F_GETFL) & os.O_NONBLOCK))
"""


def test_the_description_that_others_share_stays_blocking(reader: Reader) -> None:
    done = subprocess.run([sys.executable, "-c", SHARED], stdout=reader.theirs, check=False)
    assert done.returncode == 0
    assert [line["event"] for line in events(reader.read())] == ["service.started"]
    os.close(reader.theirs)


FOREIGN = """
import os, sys
plain = os.open
def refuse(path, *rest, **named):
    if path == "/proc/self/fd/1":
        raise PermissionError(13, "no")
    return plain(path, *rest, **named)
os.open = refuse
from queued.service.log import LogOutput
log = LogOutput("info", "json").log()
for number in range(5000):
    log.info("job.printed", line="x" * (number % 300))
"""


def test_a_pipe_of_another_user_does_not_block_either(reader: Reader) -> None:
    subprocess.run([sys.executable, "-c", FOREIGN], stdout=reader.theirs, check=True, timeout=20)
    assert events(reader.read())
    os.close(reader.theirs)


# poll(2) has found room in the pipe, and another process has filled it since then.
RACED = """
import select
class Room:
    def register(self, *_):
        pass
    def poll(self, *_):
        return [1]
select.poll = Room
"""


def test_a_pipe_of_another_user_that_another_process_fills_does_not_block() -> None:
    reader = Reader("pipe")
    try:
        os.pwritev(reader.theirs, [b"\n"], -1, os.RWF_NOWAIT)
    except OSError:
        pytest.skip("this kernel has no RWF_NOWAIT for pipes")
    program = RACED + FOREIGN
    subprocess.run([sys.executable, "-c", program], stdout=reader.theirs, check=True, timeout=20)
    assert events(reader.read())
    os.close(reader.theirs)
    reader.close()


APPENDED = """
from queued.service.log import LogOutput
LogOutput("info", "json").log().info("service.started")
"""


def test_a_file_is_appended_to_where_its_description_stands(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        subprocess.run([sys.executable, "-c", APPENDED], stdout=file, check=True)
    assert path.read_bytes().startswith(b"before\n{")


def test_a_line_that_was_written_in_part_is_completed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The rest of a line is written before the next line, so that lines are not mixed."""
    output = LogOutput("info", "json")
    plain, pieces = output._lines._output.write, [b"", None, None]

    def write(content: bytes, patience_s: float) -> bytes:
        if len(pieces) == 3:
            pieces.pop()
            plain(content[:10], patience_s)
            return content[10:]
        return plain(content, patience_s)

    output._lines._output.write = write  # type: ignore[method-assign]
    output.log().info("service.started")
    output.log().info("service.ready")
    lines = [json.loads(line)["event"] for line in capfd.readouterr().out.splitlines()]
    assert lines == ["service.started", "service.ready"]
