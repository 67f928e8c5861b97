"""A control group for each run, in a real cgroup v2: its processes, its end, and its removal."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.process import headless
from tests.service import Queue, Service, alive, eventually, run_program, states_of


def mounted() -> Path | None:
    """Returns where cgroup v2 is mounted; skips the test if it is not."""
    text = Path("/proc/self/mountinfo").read_text()
    found = re.search(r"^\S+ \S+ \S+ / (\S+) .* - cgroup2 ", text, re.MULTILINE)
    return Path(found[1]) if found else None


class Delegated:
    """A group like that of a unit with `Delegate=yes`."""

    def __init__(self, path: Path, *, marked: bool = True) -> None:
        self.path = path
        path.mkdir()
        if marked:
            os.setxattr(path, "user.delegate", b"1")

    @property
    def memory(self) -> bool:
        """Whether the kernel can limit its memory."""
        return "memory" in (self.path / "cgroup.controllers").read_text().split()

    def serve(self, queue: Queue, workers: int = 1) -> Service:
        """Starts a service in the group, whose controllers must be off at that moment."""
        if self.memory:
            (self.path / "cgroup.subtree_control").write_text("-memory")
        enter = f"with open('{self.path}/cgroup.procs', 'wb', buffering=0) as f: f.write(b'0')\n"
        become = "import runpy; runpy.run_module('queued', run_name='__main__')"
        return queue.spawn(workers=workers, program=("-c", enter + become)).ready()

    def runs(self) -> list[str]:
        """Returns the groups of runs."""
        return sorted(entry.name for entry in self.path.iterdir() if "." in entry.name and
                      entry.is_dir())  # fmt: skip

    def remove(self) -> None:
        """Kills all processes of the group and removes it."""
        (self.path / "cgroup.kill").write_text("1")
        eventually(lambda: "populated 0" in (self.path / "cgroup.events").read_text())
        for path, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(path)


@pytest.fixture
def delegated() -> Iterator[Delegated]:
    top = mounted()
    if os.geteuid() != 0 or top is None or not os.access(top, os.W_OK):
        pytest.skip("needs root and a cgroup v2 that may be written")
    with suppress(OSError):  # if the parent group has that controller
        (top / "cgroup.subtree_control").write_text("+memory")
    made = Delegated(top / f"queued-test-{os.getpid()}-{time.monotonic_ns()}")
    yield made
    made.remove()


@pytest.fixture
def limited(delegated: Delegated) -> Delegated:
    if not delegated.memory:
        pytest.skip("needs a cgroup v2 with the memory controller")
    return delegated


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no descendant of a command."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def run_of(delegated: Delegated, service: Service, name: str) -> Path:
    """Returns the group of the job's first run."""
    return delegated.path / f"{service.instance}.{name}.1"


def adopt(group: Path, process: subprocess.Popen[bytes]) -> None:
    """Moves a process into the group, where descent does not find it."""
    eventually((group / "cgroup.procs").exists)
    (group / "cgroup.procs").write_text(str(process.pid))


def test_a_run_has_a_group_of_its_own_and_the_service_has_another(
    queue: Queue, delegated: Delegated
) -> None:
    service = delegated.serve(queue, workers=2)
    names = [queue.add("grep ^0:: /proc/self/cgroup; sleep 0.2") for _ in range(4)]
    for name in names:
        queue.wait(name)
        where = queue.output(name).decode().strip()
        assert where.endswith(f"/{delegated.path.name}/{service.instance}.{name}.1")
    assert delegated.runs() == []
    home = (delegated.path / "queued" / "cgroup.procs").read_text().split()
    assert {int(pid) for pid in home} == {process.pid for process in service.own()}
    assert (delegated.path / "cgroup.procs").read_text() == ""
    assert service.stop() == 0


@pytest.mark.parametrize("options", [{}, {"umask": "077", "nice": 1}], ids=["spawned", "forked"])
def test_all_its_cpu_time_counts(
    queue: Queue, delegated: Delegated, options: dict[str, object]
) -> None:
    delegated.serve(queue)
    count = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    name = queue.add(f"({count}) & {count}; wait", **options)
    queue.wait(name)
    idle = queue.add("sleep 0.3", **options)
    queue.wait(idle)
    busy_ms, idle_ms = queue.attempts(name)[0].cpu_ms, queue.attempts(idle)[0].cpu_ms
    assert busy_ms is not None
    assert idle_ms is not None
    assert 2 * idle_ms < busy_ms


def test_a_command_that_cannot_be_started_leaves_no_group(
    queue: Queue, delegated: Delegated
) -> None:
    delegated.serve(queue)
    queue.wait(queue.add("true", cwd="/no/such/place", max_retries=1))
    assert delegated.runs() == []


def test_nothing_in_the_group_outlives_the_run(
    queue: Queue, delegated: Delegated, stranger: subprocess.Popen[bytes]
) -> None:
    service = delegated.serve(queue)
    name = queue.add("sleep 0.5; exit 3", max_retries=1)
    adopt(run_of(delegated, service, name), stranger)
    queue.wait(name)
    assert stranger.wait(5) == -signal.SIGKILL
    assert queue.attempts(name)[0].exit_code == 3
    assert delegated.runs() == []


def test_a_group_inside_that_of_a_run_is_ended_and_removed(
    queue: Queue, delegated: Delegated, stranger: subprocess.Popen[bytes]
) -> None:
    service = delegated.serve(queue)
    name = queue.add("sleep 0.5", timeout=0.1, kill_grace=0.1, max_retries=1)
    group = run_of(delegated, service, name)
    eventually((group / "cgroup.procs").exists)
    (group / "below").mkdir()
    adopt(group / "below", stranger)
    assert queue.wait(name).last_error == "timeout"
    assert stranger.wait(5) == -signal.SIGKILL
    assert delegated.runs() == []


def test_many_groups_each_in_the_one_before_are_ended_and_removed(
    queue: Queue, delegated: Delegated
) -> None:
    """More than the calls that Python nests."""
    service = delegated.serve(queue)
    group = run_of(delegated, service, "deep")
    make = f"cd {group}; for i in $(seq 1100); do mkdir d && cd d || exit 9; done; echo made"
    queue.add(f"({make}); sleep 300", id="deep", max_retries=1)
    eventually(lambda: queue.output("deep") == b"made\n")
    service.kill(service.worker_of("deep"))
    assert queue.wait("deep").label == "dead"
    eventually(lambda: delegated.runs() == [], "the group is gone")
    assert service.stop() == 0


def test_an_empty_group_that_cannot_be_removed_does_not_keep_its_run(
    queue: Queue, delegated: Delegated
) -> None:
    """The service lacks the permission if the command has created it with sudo."""
    service = delegated.serve(queue)
    name = queue.add("sleep 0.5; exit 3", max_retries=1)
    group = run_of(delegated, service, name)
    eventually((group / "cgroup.procs").exists)
    below = group / "below"
    below.mkdir()
    run_program("mount", "-t", "tmpfs", "none", below)  # a mount point is in use
    try:
        assert queue.wait(name).last_error == "exit 3"
        assert queue.wait(queue.add("true")).label == "completed"
    finally:
        run_program("umount", below)


def test_children_left_on_purpose_stay_in_their_group(queue: Queue, delegated: Delegated) -> None:
    service = delegated.serve(queue)
    name = queue.add("sleep 300 >/dev/null 2>&1 & echo $!", leave_children=True)
    queue.wait(name)
    left = int(queue.output(name))
    assert queue.wait(queue.add("true")).label == "completed"
    assert alive(left)
    assert delegated.runs() == [f"{service.instance}.{name}.1"]
    os.kill(left, signal.SIGKILL)
    eventually(lambda: delegated.runs() == [])


def test_the_group_of_a_worker_that_died_is_ended(
    queue: Queue, delegated: Delegated, stranger: subprocess.Popen[bytes]
) -> None:
    service = delegated.serve(queue, workers=2)
    other = queue.add("sleep 1; echo unharmed")
    name = queue.add("sleep 300", max_retries=1)
    adopt(run_of(delegated, service, name), stranger)
    service.kill(service.worker_of(name))
    assert queue.wait(name).last_error == "lost: its worker died"
    assert stranger.wait(5) == -signal.SIGKILL
    assert delegated.runs() == [f"{service.instance}.{other}.1"]
    queue.wait(other)
    assert queue.output(other) == b"unharmed\n"


def test_the_next_service_ends_and_removes_the_groups_of_a_crashed_one(
    queue: Queue, delegated: Delegated, stranger: subprocess.Popen[bytes]
) -> None:
    service = delegated.serve(queue, workers=2)
    left = queue.add("sleep 300 >/dev/null 2>&1 & echo $!", leave_children=True)
    queue.wait(left)
    name = queue.add("sleep 300", max_retries=1)
    adopt(run_of(delegated, service, name), stranger)
    service.kill_instance()
    delegated.serve(queue)
    assert queue.wait(name).last_error == "lost: the service died"
    assert stranger.wait(5) == -signal.SIGKILL
    assert delegated.runs() == [f"{service.instance}.{left}.1"]
    assert alive(int(queue.output(left)))


def test_a_process_without_its_first_thread_is_ended(
    queue: Queue, delegated: Delegated, tmp_path: Path
) -> None:
    """cgroup.kill may not end it."""
    service = delegated.serve(queue)
    name = queue.add("sleep 300", max_retries=1, timeout=2, kill_grace=0.1)
    group = run_of(delegated, service, name)
    eventually((group / "cgroup.procs").exists)
    with subprocess.Popen(["sh", "-c", headless.command(tmp_path / "pid")]) as process:
        adopt(group, process)
        eventually(lambda: headless.pid_of(tmp_path / "pid"))
        assert queue.wait(name).last_error == "timeout"
        assert process.wait(5) == -signal.SIGKILL
    assert delegated.runs() == []


@pytest.mark.parametrize("ended_by", ["a cancel", "its worker's death", "the service's death"])
def test_a_run_with_a_threaded_group_is_frozen_and_ended_like_any_other(
    queue: Queue, delegated: Delegated, stranger: subprocess.Popen[bytes], ended_by: str
) -> None:
    """As libvirt makes them. The kernel refuses to list the processes of such a group."""
    service = delegated.serve(queue)
    queue.add("sleep 300", id="job", max_retries=1, kill_grace=0.1)
    group = run_of(delegated, service, "job")
    eventually((group / "cgroup.procs").exists)
    (group / "below").mkdir()
    (group / "below" / "cgroup.type").write_text("threaded")
    adopt(group / "below", stranger)
    queue.store.queues.change("default", paused_ms=1, suspended_ms=1)
    eventually(lambda: "frozen 1" in (group / "cgroup.events").read_text())
    queue.store.queues.change("default", paused_ms=None, suspended_ms=None)
    eventually(lambda: "frozen 0" in (group / "cgroup.events").read_text())
    if ended_by == "a cancel":
        queue.cancel("job")
    elif ended_by == "its worker's death":
        service.kill(service.worker_of("job"))
    else:
        service.kill_instance()
        delegated.serve(queue)
    assert queue.wait("job").label == ("cancelled" if ended_by == "a cancel" else "dead")
    assert stranger.wait(5) == -signal.SIGKILL
    assert queue.wait(queue.add("true")).label == "completed"
    eventually(lambda: delegated.runs() == [], "the group is gone")


def test_empty_groups_of_earlier_services_are_removed(queue: Queue, delegated: Delegated) -> None:
    (delegated.path / "1m8dead.job.1").mkdir()
    (delegated.path / "1m8dead.job.1" / "below").mkdir()
    delegated.serve(queue)
    assert delegated.runs() == []


def test_a_run_that_gets_no_group_goes_without(queue: Queue, delegated: Delegated) -> None:
    service = delegated.serve(queue)
    (delegated.path / "cgroup.max.descendants").write_text("1")
    name = queue.add("grep ^0:: /proc/self/cgroup")
    queue.wait(name)
    assert queue.output(name).decode().strip().endswith(f"/{delegated.path.name}/queued")
    assert [line["level"] for line in service.logged("job.cgroup_failed", job=name)] == ["warning"]


def test_a_group_that_was_not_delegated_is_left_alone(queue: Queue, delegated: Delegated) -> None:
    plain = Delegated(delegated.path / "plain", marked=False)
    service = plain.serve(queue)
    queue.wait(queue.add("true"))
    assert [entry for entry in plain.path.iterdir() if entry.is_dir()] == []
    pids = (plain.path / "cgroup.procs").read_text().split()
    assert {int(pid) for pid in pids} == {process.pid for process in service.own()}


# Memory

TAKE = "head -c {} /dev/zero | tail -c {} | wc -c"  # tail keeps all of it


def test_too_much_memory_is_an_outcome_that_counts(queue: Queue, limited: Delegated) -> None:
    limited.serve(queue)
    name = queue.add(
        TAKE.format("200M", "200M"), limits={"memory": 50 << 20}, max_retries=2, backoff_max=0
    )
    job = queue.wait(name)
    assert (job.label, job.attempts) == ("dead", 2)
    assert job.last_error == f"oom: it needs more than {50 << 20} bytes"
    for attempt in queue.attempts(name):
        assert (attempt.outcome, attempt.exit_code, attempt.signal) == ("oom", None, "SIGKILL")
        assert attempt.peak_kib is not None
        assert 45 << 10 <= attempt.peak_kib <= 50 << 10
    assert queue.queuectl("wait", name).returncode == 128 + signal.SIGKILL
    assert limited.runs() == []


def test_the_limit_is_for_all_processes_of_a_run(queue: Queue, limited: Delegated) -> None:
    limited.serve(queue)
    take = TAKE.format("30M", "30M")
    alone = queue.add(take, limits={"memory": 60 << 20}, max_retries=1)
    assert queue.wait(alone).label == "completed"
    hold = "head -c 30M /dev/zero | (tail -c 30M; sleep 2) | (sleep 2; cat) >/dev/null"
    together = queue.add(f"{hold} & {hold} & wait", limits={"memory": 40 << 20}, max_retries=1)
    queue.wait(together)
    assert str(queue.attempts(together)[0].outcome) == "oom"


def test_address_space_is_not_memory(queue: Queue, limited: Delegated) -> None:
    limited.serve(queue)
    name = queue.add("ulimit -v; ulimit -n", limits={"memory": 64 << 20, "files": 77})
    queue.wait(name)
    assert queue.output(name) == b"unlimited\n77\n"


def test_the_smallest_limits_harm_no_worker(queue: Queue, limited: Delegated) -> None:
    service = limited.serve(queue)
    name = queue.add(TAKE.format("20M", "20M"), limits={"memory": 1 << 20}, max_retries=1)
    queue.wait(name)
    assert str(queue.attempts(name)[0].outcome) == "oom"
    assert service.logged("child.died") == []


def test_peak_memory_is_that_of_the_whole_group(queue: Queue, limited: Delegated) -> None:
    limited.serve(queue)
    name = queue.add(TAKE.format("100M", "100M"))
    queue.wait(name)
    peak_kib = queue.attempts(name)[0].peak_kib
    assert peak_kib is not None
    assert 100 << 10 <= peak_kib <= 150 << 10
    small = queue.add("true")
    queue.wait(small)
    peak_kib = queue.attempts(small)[0].peak_kib
    assert peak_kib is not None
    assert peak_kib < 8 << 10  # the worker's own size is not in it


@pytest.mark.parametrize("ended_by", ["a cancel", "the death of its worker"])
def test_a_suspended_run_is_frozen_by_its_group_and_can_be_ended(
    queue: Queue, delegated: Delegated, ended_by: str
) -> None:
    service = delegated.serve(queue, workers=1)
    script = "(sleep 300; :) & setsid sleep 300; wait"
    queue.add(script, id="frozen", queue="mail", max_retries=1, kill_grace=5)
    group = run_of(delegated, service, "frozen")
    eventually((group / "cgroup.procs").exists)
    eventually(lambda: len((group / "cgroup.procs").read_text().split()) == 4, "all processes")
    queue.store.queues.change("mail", paused_ms=1, suspended_ms=1)
    eventually(lambda: "frozen 1" in (group / "cgroup.events").read_text())
    if ended_by == "a cancel":
        queue.cancel("frozen")
    else:
        service.kill(service.worker_of("frozen"))
    assert queue.wait("frozen").label == ("cancelled" if ended_by == "a cancel" else "dead")
    eventually(lambda: delegated.runs() == [], "the group is gone")


def test_a_resumed_run_goes_on(queue: Queue, delegated: Delegated) -> None:
    service = delegated.serve(queue, workers=1)
    queue.add("sleep 0.5", id="frozen", queue="mail", timeout=20)
    group = run_of(delegated, service, "frozen")
    eventually((group / "cgroup.procs").exists)
    eventually((group / "cgroup.procs").read_text)
    queue.store.queues.change("mail", paused_ms=1, suspended_ms=1)
    eventually(lambda: "frozen 1" in (group / "cgroup.events").read_text())
    queue.store.queues.change("mail", paused_ms=None, suspended_ms=None)
    assert queue.wait("frozen").label == "completed"


def test_processes_that_have_left_the_group_are_suspended_too(
    queue: Queue, delegated: Delegated
) -> None:
    """As those of `systemd-run --scope` and `su -` do."""
    service = delegated.serve(queue, workers=1)
    other = delegated.path / "other"
    other.mkdir()
    fifo = queue.file("fifo")
    os.mkfifo(fifo)
    leave = f"echo $$ >{other}/cgroup.procs; exec cat {fifo}"
    script = f"exec bash -c 'set -m; sh -c \"$0\"; echo rc=$?' {shlex.quote(leave)}"
    queue.add(script, id="frozen", queue="mail")
    pids = [int(pid) for pid in eventually((other / "cgroup.procs").read_text).split()]
    events = run_of(delegated, service, "frozen") / "cgroup.events"
    for _ in range(2):
        queue.store.queues.change("mail", paused_ms=1, suspended_ms=1)
        eventually(lambda: states_of(pids) == {"T"}, "what has left the group is stopped")
        eventually(lambda: "frozen 1" in events.read_text())
        queue.store.queues.change("mail", paused_ms=None, suspended_ms=None)
        eventually(lambda: states_of(pids) == {"S"}, "it goes on")
        eventually(lambda: "frozen 0" in events.read_text())
    fifo.write_text("end\n")
    queue.wait("frozen")
    assert queue.output("frozen") == b"end\nrc=0\n"
