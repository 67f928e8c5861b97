"""What the torture sees of the processes of a suspended run."""

import shlex
import signal
import subprocess
from pathlib import Path

from queued.service.linux import procfs
from tests.process import headless
from tests.service import eventually
from tests.torture.suspensions import is_stopped


def test_a_process_without_its_first_thread_can_be_seen_to_be_stopped(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    _, *words = shlex.split(headless.command(file))  # without `exec`
    with subprocess.Popen(words) as process:
        try:
            eventually(lambda: headless.pid_of(file) == process.pid)
            found = procfs.read_process(process.pid)
            assert found is not None
            assert not is_stopped(found)
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: is_stopped(found))
        finally:
            process.kill()
    assert not is_stopped(found)
