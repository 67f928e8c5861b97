"""The server of the tests themselves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests import postgres_server
from tests.service import alive, eventually


def test_the_server_ends_when_the_tests_are_killed(root: Path) -> None:
    postgres_server.fresh_schema()  # skips where there is no server
    script = "from tests import postgres_server as p; print(p.url(), flush=True); input()"
    environment = {**os.environ, "PYTEST_XDIST_TESTRUNUID": f"killed-{os.getpid()}"}
    tests = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with tests:
        assert tests.stdout is not None
        home = Path(tests.stdout.readline().strip().partition("host=")[2]).parent
        server = int((home / "data" / "postmaster.pid").read_text("utf-8").split()[0])
        assert Path(f"/proc/{server}").exists()
        tests.send_signal(signal.SIGKILL)
    eventually(lambda: not home.exists(), within_s=30)
    eventually(lambda: not alive(server))
