"""A command that the service may not kill, when the lease of its host ends."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def test_a_command_of_another_user_is_logged_when_the_lease_ends(theirs: Hosts) -> None:
    """Another host takes the job over all the same: this is one of the limits of the promise."""
    program = ("-m", "tests.process.as_another_user", str(USER), "queued")
    first = theirs.add()
    os.chown(first.queue.directory, USER, USER)
    service = first.queue.spawn(program=program, workers=1).ready()
    pid_file = theirs.directory / "pid"
    pid_file.touch()
    pid_file.chmod(0o666)
    command = f"exec setpriv --reuid={OTHER} sh -c 'echo $$ > {pid_file}; exec sleep 600'"
    theirs.queue.add(f"[ $QUEUED_ATTEMPT -gt 1 ] || {command}", id="job")
    pid = int(eventually(pid_file.read_text))
    try:
        second = theirs.add().serve(workers=1)
        first.link.cut()
        (line,) = eventually(lambda: service.logged("lease.runs_outlive"), within_s=2 * LEASE_S)
        assert (line["level"], line["pids"]) == ("critical", [pid])
        assert not second.logged("instance.taken_over"), "it is logged before the lease ends"
        assert theirs.queue.wait("job", within_s=2 * LEASE_S).label == "completed"
        assert os.stat(f"/proc/{pid}").st_uid == OTHER
    finally:
        os.kill(pid, signal.SIGKILL)
