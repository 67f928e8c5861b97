"""A command that the service may not kill, when the lease of its host ends."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.service.ipc.scoreboard import WARDEN
from tests import postgres_server
from tests.hosts.conftest import LEASE_S, Hosts, ended
from tests.service import eventually

USER = 40_000 + os.getpid() % 10_000
OTHER = USER + 10_000


@pytest.fixture(params=["root"] if os.geteuid() == 0 else [])
def theirs() -> Iterator[Hosts]:
    """Hosts whose services are those of another user."""
    directory = Path(tempfile.mkdtemp(prefix="queued-another-"))
    os.chown(directory, USER, USER)
    with ended(Hosts(directory, postgres_server.new_queue())) as made:
        yield made
    shutil.rmtree(directory)


def _limit_processes(pid: int, most: int) -> None:
    """Sets how many processes that user may have, for the forks of a process."""
    user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    subprocess.run([*user, "prlimit", f"--pid={pid}", f"--nproc={most}:"], check=True)


@pytest.mark.parametrize("fault", ["partition", "death", "death without a free process"])
def test_a_command_of_another_user_is_logged_when_the_lease_ends(theirs: Hosts, fault: str) -> None:
    """Another host takes the job over all the same: this is one of the limits of the promise.

    After the death of all other processes the warden waits for the end of the lease, too, and goes
    on until the system lets it start the command that ends the host.
    """
    program = ("-m", "tests.process.as_another_user", str(USER), "queued")
    first = theirs.add()
    os.chown(first.queue.directory, USER, USER)
    fenced = theirs.directory / "fenced"
    fence = f"echo $QUEUED_PIDS $QUEUECTL_DB $PGAPPNAME > {fenced}; exit 3"
    env = {"QUEUECTL_FENCE_COMMAND": fence, "PGAPPNAME": "private"}
    service = first.queue.spawn(program=program, workers=1, env=env).ready()
    pid_file = theirs.directory / "pid"
    pid_file.touch()
    pid_file.chmod(0o666)
    command = f"exec setpriv --reuid={OTHER} sh -c 'echo $$ > {pid_file}; exec sleep 600'"
    theirs.queue.add(f"[ $QUEUED_ATTEMPT -gt 1 ] || {command}", id="job")
    pid = int(eventually(pid_file.read_text))
    try:
        second = theirs.add().serve(workers=1)
        if fault == "partition":
            first.link.cut()
        else:
            service.kill_instance(service.child(WARDEN))
        if fault == "death without a free process":
            _limit_processes(service.child(WARDEN), 0)
            (refused,) = eventually(
                lambda: service.logged("lease.fence_failed"), within_s=2 * LEASE_S
            )
            assert "temporarily unavailable" in refused["error"]
            _limit_processes(service.child(WARDEN), 100)
        (line,) = eventually(lambda: service.logged("lease.runs_outlive"), within_s=2 * LEASE_S)
        assert (line["level"], line["pids"]) == ("critical", [pid])
        failed = eventually(
            lambda: [line for line in service.logged("lease.fence_failed") if "exit_code" in line]
        )[0]
        assert (failed["level"], failed["exit_code"]) == ("critical", 3)
        assert fenced.read_text() == f"{pid}\n"
        assert not second.logged("instance.taken_over"), "it is logged before the lease ends"
        assert theirs.queue.wait("job", within_s=2 * LEASE_S).label == "completed"
        assert len(service.logged("lease.fence_started")) == 1
        assert os.stat(f"/proc/{pid}").st_uid == OTHER
    finally:
        os.kill(pid, signal.SIGKILL)
