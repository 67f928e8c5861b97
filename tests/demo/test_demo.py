"""The demo that the README promises: it ends well, shows what it says, and leaves nothing."""

import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service import install_programs, run_program

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "tests" / "demo" / "demo.sh")


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with our two programs and a temporary directory."""
    programs, temporary = tmp_path / "bin", tmp_path / "tmp"
    install_programs(programs)
    temporary.mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}


def _left(surroundings: dict[str, str]) -> list[str]:
    """Files of the demo, and processes that know its directory."""
    place = surroundings["TMPDIR"].encode()
    left = os.listdir(place.decode())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if b"TMPDIR=" + place in words:
            left.append(process.name)
    return left


def test_the_demo_shows_the_queue_at_work(surroundings: dict[str, str]) -> None:
    demo = run_program(DEMO, env=surroundings, stdin=subprocess.DEVNULL, timeout=120)
    assert (demo.returncode, demo.stderr) == (0, "")
    for shown in (
        "3 workers are ready",
        "completed 9   dead 4",
        "last error    exit 1: not yet",
        "<three arguments,>\n<$HOME as it is>\n",
        "step 1\nstep 2\nstep 3\n",
        "exit 3: the disk of tape 7 is torn",
        "exit 127 (command not found)",
        "signal SIGSEGV",
        "stopped",
    ):
        assert shown in demo.stdout
    assert "\x1b" not in demo.stdout
    assert _left(surroundings) == []


def test_an_interrupted_demo_stops_its_service(surroundings: dict[str, str]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(DEMO, [DEMO], surroundings)
    shown = b""
    while b"processing" not in shown:
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 65536)
    os.write(terminal, b"\x03")  # Ctrl+C reaches the whole foreground group
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # EIO: no process has the terminal open any more
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGINT
    assert _left(surroundings) == []
