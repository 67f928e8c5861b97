"""Resource limits of the service's processes that another process lowers (prlimit)."""

import resource

import pytest

from tests.service import Queue, eventually

TOO_LOW = 4096  # bytes; each file and stack needs more
LOWERED_BEFORE_EACH_FORK = f"""
import os, resource, sys
def fork(own=os.fork):
    kind = resource.RLIMIT_FSIZE
    resource.setrlimit(kind, ({TOO_LOW}, resource.getrlimit(kind)[1]))
    return own()
os.fork = fork
from queued.__main__ import main
sys.exit(main())
"""
# A service of root that may not raise hard limits, like the programs of other users.
UNPRIVILEGED = (
    "-c",
    (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)\n"  # PR_CAPBSET_DROP
        "os.execv(sys.executable, [sys.executable, '-m', 'queued', *sys.argv[1:]])"
    ),
)


def lower(pid: int, kind: int, *, hard: bool = True) -> None:
    """Lowers the limit of that process, the soft one only if not `hard`."""
    most = resource.prlimit(pid, kind)[1]
    resource.prlimit(pid, kind, (TOO_LOW, TOO_LOW if hard else most))


def test_a_dispatcher_that_cannot_write_is_replaced(queue: Queue) -> None:
    service = queue.serve(workers=1)
    pid = service.child(0)
    lower(pid, resource.RLIMIT_FSIZE)
    assert queue.wait(queue.add("true")).label == "completed"
    assert service.child(0) != pid


@pytest.mark.parametrize("kind", [resource.RLIMIT_FSIZE, resource.RLIMIT_STACK])
def test_no_command_inherits_a_limit_that_another_command_lowered(queue: Queue, kind: int) -> None:
    service = queue.serve(workers=1)
    before = resource.getrlimit(kind)
    lower(service.child(1), kind)
    command = f"head -c {TOO_LOW + 1} /dev/zero >big"
    name = queue.add(command, cwd=str(queue.directory), max_retries=1)
    assert queue.wait(name).label == "completed"
    assert resource.prlimit(service.child(1), kind) == before
    assert service.logged("process.limited", role="worker")


def test_the_supervisor_restores_its_limits_before_it_starts_a_child(queue: Queue) -> None:
    service = queue.serve(workers=1)
    pid = service.child(0)
    lower(service.pid, resource.RLIMIT_FSIZE, hard=False)
    service.kill(pid)
    service.replaced(0, pid)
    assert queue.wait(queue.add("true")).label == "completed"


def test_limits_that_are_lowered_just_before_a_fork_are_restored(queue: Queue) -> None:
    service = queue.spawn(workers=1, program=("-c", LOWERED_BEFORE_EACH_FORK))
    command = f"head -c {TOO_LOW + 1} /dev/zero >big"
    assert queue.wait(queue.add(command, cwd=str(queue.directory))).label == "completed"
    assert service.stop() == 0


def test_a_supervisor_without_descriptors_ends_with_one_clear_line(queue: Queue) -> None:
    service = queue.spawn(workers=1, program=UNPRIVILEGED).ready()
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (1, 1))
    service.kill(service.child(1))
    assert service.ended() == 74
    text = service.log_path.read_text()
    assert "queued: the system refuses what a service needs: Too many open files" in text
    assert "Traceback" not in text


def test_a_service_whose_limits_cannot_be_restored_ends(queue: Queue) -> None:
    """Its next dispatcher could write nothing, so that the queue would stand still."""
    service = queue.spawn(workers=1, program=UNPRIVILEGED).ready()
    lower(service.pid, resource.RLIMIT_NPROC)
    service.kill(service.child(0))
    assert service.ended() == 74
    (failed,) = eventually(lambda: service.logged("service.failed"))
    assert "NPROC" in failed["error"]
