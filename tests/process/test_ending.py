"""When a run has ended, for any reason, no process of it is alive."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from queued.service.linux import libc, procfs
from tests.process.marked_sleep import MarkedSleep
from tests.service import STUCK_SOON, Queue, alive, altered, eventually

PTRACE_SEIZE = 0x4206


class Case(NamedTuple):
    """A command (LONG is a long sleep), its expected outcome, and the longest time for it."""

    command: str
    ending: tuple[str, int | str | None]
    options: Mapping[str, Any] = MappingProxyType({})
    within_ms: int = 3000
    at_least_ms: int = 0


TIMEOUT = {"timeout": 0.3}
HASTY = {"timeout": 0.3, "kill_grace": 0.3}

CASES = {
    "ends at its time": Case("exec sleep LONG", ("timeout", "SIGTERM"), TIMEOUT, 900, 300),
    "ends with its children": Case("sleep LONG | sleep LONG; :", ("timeout", "SIGTERM"), TIMEOUT),
    "cleans up at its time": Case(
        "trap 'exit 5' TERM; while :; do sleep 0.01; done", ("timeout", 5), TIMEOUT
    ),
    "ignores TERM": Case(
        "trap '' TERM; sleep LONG; sleep LONG", ("timeout", "SIGKILL"), HASTY, 3000, 600
    ),
    "has no grace": Case(
        "trap '' TERM; sleep LONG; sleep LONG", ("timeout", "SIGKILL"), HASTY | {"kill_grace": 0}
    ),
    "a child ignores TERM and the shell does not": Case(
        "(trap '' TERM; sleep LONG; :) & wait", ("timeout", "SIGTERM"), HASTY
    ),
    "stops itself": Case("kill -STOP $$; sleep LONG", ("timeout", "SIGTERM"), TIMEOUT),
    "a child is stopped": Case("sleep LONG & kill -STOP $!; wait", ("timeout", "SIGTERM"), TIMEOUT),
    "a child that will not end is stopped": Case(
        "(trap '' TERM; kill -STOP $(exec sh -c 'echo $PPID'); sleep LONG; :) & wait",
        ("timeout", "SIGTERM"),
        HASTY,
    ),
    "in the background": Case("sleep LONG & exit 0", ("exit", 0), {"leave_children": False}),
    "in the background, failed": Case("sleep LONG & exit 3", ("exit", 3)),
    "in the background of a shell that was killed": Case(
        "sleep LONG & kill -9 $$", ("signal", "SIGKILL")
    ),
    "nohup": Case("nohup sleep LONG >/dev/null 2>&1 & exit 0", ("exit", 0)),
    "setsid": Case("setsid sleep LONG & exit 0", ("exit", 0)),
    "setsid, the shell lives on": Case(
        "setsid sleep LONG & setsid sleep LONG & wait", ("timeout", "SIGTERM"), TIMEOUT
    ),
    "a daemon forks twice": Case(
        "setsid sh -c 'setsid sleep LONG & setsid sleep LONG & exit' & sleep 0.1; exit 0",
        ("exit", 0),
    ),
    "a daemon has no environment": Case(
        "env -i setsid sleep LONG >/dev/null 2>&1 </dev/null & exit 0", ("exit", 0)
    ),
    "a daemon ignores TERM": Case(
        "setsid sh -c 'trap \"\" TERM; sleep LONG; :' & sleep 0.1; exit 0",
        ("exit", 0),
        {"kill_grace": 0.3},
    ),
    "a group of its own": Case("set -m; sleep LONG & sleep LONG & exit 0", ("exit", 0)),
    "many children that ignore TERM": Case(
        "trap '' TERM; for i in $(seq 100); do setsid sleep LONG & done; exit 0",
        ("exit", 0),
        {"kill_grace": 0.2},
        10_000,
    ),
    "children print while it exits": Case("yes LONG & yes LONG & exit 0", ("exit", 0)),
    "signals its own group": Case("sleep LONG & kill -TERM 0; sleep LONG", ("signal", "SIGTERM")),
    "kills its own group": Case("sleep LONG & kill -KILL 0; sleep LONG", ("signal", "SIGKILL")),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_nothing_is_left(served: Queue, sleeper: MarkedSleep, case: Case) -> None:
    command = case.command.replace("LONG", str(sleeper))
    name = served.add(command, max_retries=1, **case.options)
    served.wait(name)
    assert sleeper.living() == []
    (attempt,) = served.attempts(name)
    outcome, how = case.ending
    assert attempt.outcome == outcome
    assert how in (attempt.exit_code, attempt.signal)
    assert attempt.ran_ms is not None
    assert case.at_least_ms <= attempt.ran_ms
    took_ms = served.job(name).updated_ms - attempt.started_ms
    assert case.at_least_ms <= took_ms <= case.within_ms


def test_a_process_is_the_same_after_it_has_left_its_session() -> None:
    """It was not sent TERM, if it left between the search and the signal."""
    leaves = "import os; input(); os.setsid(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", leaves], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        before = procfs.read_process(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        assert before is not None
        now = procfs.refresh(before)
        assert now is not None
        assert now.session == child.pid != before.session
        child.stdin.write(b"\n")


def test_a_process_that_runs_away_from_its_parents_is_caught(
    served: Queue, sleeper: MarkedSleep
) -> None:
    """Each process forks the next one in a new session, and exits."""
    comet = served.file("comet")
    comet.write_text('[ -e "$1" ] && { setsid sh "$0" "$1" "$2" & }\nexit\n')
    life = served.file("life")
    life.touch()
    try:
        name = served.add(f"sh {comet} {life} {sleeper}; exit 0", kill_grace=0.2)
        assert served.wait(name).label == "completed"
        assert sleeper.living() == []
    finally:
        life.unlink()


def test_leftovers_get_term_before_kill(served: Queue) -> None:
    name = served.add(
        "(trap 'echo bye; exit' TERM; echo child; while :; do sleep 0.01; done) &"
        " sleep 0.3; exit 7",
        max_retries=1,
    )
    served.wait(name)
    printed = served.output(name)
    assert printed.startswith(b"child\n")
    assert printed.endswith(b"bye\n"), "the trap has run"
    assert served.attempts(name)[0].exit_code == 7


@pytest.mark.parametrize("number", ["TERM", "INT", "HUP", "QUIT", "STOP", "CHLD", "USR1"])
def test_a_job_that_signals_its_parent_harms_only_itself(one_worker: Queue, number: str) -> None:
    name = one_worker.add(f"kill -{number} $PPID; sleep 0.2; exit 4", max_retries=1)
    job = one_worker.wait(name)
    assert (job.label, job.runs) == ("dead", 1)
    assert [(a.outcome, a.exit_code) for a in one_worker.attempts(name)] == [("exit", 4)]
    assert one_worker.wait(one_worker.add("true")).label == "completed"


@pytest.mark.parametrize("number", ["KILL", "SEGV"])
def test_a_job_that_kills_its_worker_is_lost_and_counted(
    queue: Queue, sleeper: MarkedSleep, number: str
) -> None:
    queue.serve(workers=1)
    name = queue.add(
        f"env -i setsid sleep {sleeper} & kill -{number} $PPID; sleep {sleeper}", max_retries=1
    )
    assert queue.wait(name).label == "dead"
    assert queue.attempts(name)[0].outcome == "lost"
    assert sleeper.living() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a name space of pids")
def test_a_process_that_survives_kill_is_logged(queue: Queue, sleeper: MarkedSleep) -> None:
    """The kernel ends the first process of a pid namespace only after a child that is traced."""
    service = queue.spawn(workers=1, program=altered(STUCK_SOON)).ready()
    name = queue.add(
        f"exec unshare --pid --fork sh -c 'sleep {sleeper} & wait'",
        timeout=1, kill_grace=0.1, max_retries=1,
    )  # fmt: skip
    traced = eventually(lambda: [pid for pid in sleeper.living() if _program(pid) == "sleep"])[0]
    libc.checked(libc.C.ptrace(PTRACE_SEIZE, traced, None, None))
    eventually(lambda: service.logged("job.unkillable", job=name))
    assert queue.job(name).label == "processing"
    os.waitpid(traced, 0)
    assert queue.wait(name).last_error == "timeout"


def test_a_command_that_a_debugger_holds_is_logged(queue: Queue) -> None:
    """It is dead, and only the debugger can collect it."""
    service = queue.spawn(workers=1, program=altered(STUCK_SOON)).ready()
    name = queue.add("echo $$; exec sleep 300", timeout=1, kill_grace=0.1, max_retries=1)
    pid = int(eventually(lambda: queue.output(name)))
    libc.checked(libc.C.ptrace(PTRACE_SEIZE, pid, None, None))
    [line] = eventually(lambda: service.logged("job.unkillable", job=name))
    assert line["pids"] == [pid]
    assert "debugger" in line["action"]
    os.waitpid(pid, 0)
    queue.wait(name)
    assert queue.attempts(name)[0].outcome == "timeout"


def _program(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def test_time_goes_on_for_a_worker_that_a_job_has_stopped(
    one_worker: Queue, sleeper: MarkedSleep
) -> None:
    name = one_worker.add(f"kill -STOP $PPID; sleep {sleeper}", max_retries=1, timeout=0.3)
    one_worker.wait(name)
    assert one_worker.attempts(name)[0].outcome == "timeout"


def test_a_dispatcher_that_a_job_has_stopped_goes_on(queue: Queue) -> None:
    service = queue.serve(workers=1)
    dispatcher = service.child(0)
    for n in range(3):
        name = queue.add(f"kill -STOP {dispatcher}; echo {n}")
        assert queue.wait(name).label == "completed"
    assert service.child(0) == dispatcher
    assert len(service.logged("child.continued", child_pid=dispatcher)) == 1


def test_a_stopped_worker_does_not_outlive_its_supervisor(queue: Queue) -> None:
    """It would hold the lock of the dead instance, so that no claim of it would be rescued."""
    service = queue.serve(workers=1)
    worker = service.child(1)
    service.kill(service.pid, signal.SIGSTOP)  # a running one would let stopped children go on
    service.kill(worker, signal.SIGSTOP)
    service.kill(service.pid)
    service.ended()
    eventually(lambda: not alive(worker))


def test_a_closed_pipe_is_not_the_end(served: Queue) -> None:
    name = served.add("exec >&- 2>&-; sleep 0.3; exit 6", max_retries=1)
    served.wait(name)
    (attempt,) = served.attempts(name)
    assert attempt.exit_code == 6
    assert attempt.ran_ms is not None
    assert attempt.ran_ms >= 300


def test_an_orphan_that_becomes_ours_is_reaped_while_the_job_runs(served: Queue) -> None:
    """Zombies do not accumulate while a long job starts one daemon after another."""
    zombies = "ps -o stat= --ppid $PPID | grep -q Z"
    name = served.add(
        f"for i in $(seq 50); do sh -c 'sh -c : &'; done; while {zombies}; do sleep 0.01; done",
        timeout=10,
        max_retries=1,
    )
    assert served.wait(name).label == "completed"


# leave_children


def spare(queue: Queue, sleeper: MarkedSleep, prefix: str = "setsid", **fields: Any) -> int:
    """Runs a job that leaves a daemon on purpose; returns the pid of the daemon.

    The worker was replaced then, because it has left the daemon to the supervisor.
    """
    (service,) = queue.services
    worker = service.child(1)
    name = queue.add(
        f"{prefix} sleep {sleeper} >/dev/null 2>&1 & sleep 0.05; exit 0",
        leave_children=True,
        **fields,
    )
    assert queue.wait(name).label == "completed"
    service.replaced(1, worker)
    (pid,) = sleeper.living()
    return pid


@pytest.mark.parametrize("prefix", ["", "nohup", "setsid", "env -i setsid"])
def test_left_on_purpose_stays_through_jobs_workers_and_the_service(
    queue: Queue, sleeper: MarkedSleep, prefix: str
) -> None:
    service = queue.serve(workers=1)
    daemon = spare(queue, sleeper, prefix)
    other, more = MarkedSleep(), MarkedSleep()
    queue.wait(queue.add(f"setsid sleep {other} & sleep {other} & exit 0"))
    assert other.living() == []
    assert alive(daemon), "a later job of the same worker"
    second = spare(queue, more, prefix)
    worker = service.child(1)
    service.kill(worker, signal.SIGTERM)
    service.replaced(1, worker)
    queue.wait(queue.add(f"setsid sleep {other} & exit 0"))
    assert other.living() == []
    assert alive(daemon)
    assert alive(second), "another worker"
    assert service.stop() == 0
    assert alive(daemon)
    assert alive(second), "no service"
    os.kill(second, signal.SIGKILL)


def test_left_on_purpose_without_environment_stays_through_a_crash(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    service = queue.serve(workers=1)
    daemon = spare(queue, sleeper, "env -i setsid")
    lost = MarkedSleep()
    name = queue.add_once(f"sleep {lost}", leave_children=True)
    eventually(lost.living)
    service.kill(service.child(1))
    eventually(lambda: queue.job(name).attempts == 1)
    assert alive(daemon), "a worker that died"
    again = queue.add_once(f"sleep {lost}", leave_children=True)
    eventually(lost.living)
    service.kill_instance()
    queue.serve(workers=1)
    assert queue.wait(again).label == "completed"
    assert lost.living() == []
    assert alive(daemon), "a service that died"


def test_a_job_that_forges_a_mark_does_not_run_beside_what_a_dead_worker_left(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    """A daemon that an earlier job of the same worker left on purpose stays."""
    service = queue.serve(workers=1)
    allowed = MarkedSleep()
    daemon = spare(queue, allowed)
    forged = "prlimit --rttime=unlimited: env QUEUED_LEAVE_CHILDREN=1 QUEUED_ATTEMPT=9 setsid sleep"
    name = queue.add(f"[ $QUEUED_ATTEMPT -gt 1 ] || {{ {forged} {sleeper} & wait; }}")
    eventually(sleeper.living)
    service.kill(service.child(1))
    assert queue.wait(name).label == "completed"
    assert sleeper.living() == []
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_a_stopped_job_leaves_nothing_even_with_leave_children(
    one_worker: Queue, sleeper: MarkedSleep, how: str
) -> None:
    command = f"(trap '' TERM; setsid sleep {sleeper}) & sleep {sleeper}; :"
    name = one_worker.add(
        command,
        leave_children=True,
        max_retries=1,
        kill_grace=0.3,
        timeout=0.7 if how == "timeout" else 0,
    )
    eventually(lambda: len(sleeper.living()) >= 3)
    if how == "cancelled":
        assert one_worker.queuectl("cancel", name).returncode == 0
    one_worker.wait(name)
    assert one_worker.attempts(name)[0].outcome == how
    assert sleeper.living() == []


def test_a_lost_attempt_leaves_no_process_and_daemons_of_other_jobs_stay(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    service = queue.serve(workers=1)
    daemon = spare(queue, sleeper)
    lost = MarkedSleep()
    name = queue.add(f"setsid sleep {lost} & sleep {lost}", leave_children=True, max_retries=1)
    eventually(lambda: len(lost.living()) >= 3)
    service.kill(service.child(1))
    queue.wait(name)
    assert queue.attempts(name)[0].outcome == "lost"
    assert lost.living() == []
    assert alive(daemon)


def test_children_left_on_purpose_survive_the_death_of_an_idle_worker(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    """The last run of the worker was over, so it is not lost with the worker."""
    service = queue.serve(workers=1)
    daemon = spare(queue, sleeper)
    worker = service.child(1)
    service.kill(worker)
    service.replaced(1, worker)
    assert queue.wait(queue.add("true")).label == "completed"
    assert alive(daemon)


@pytest.mark.parametrize("prefix", ["", "prlimit --rttime=unlimited env -i PATH=$PATH"])
def test_processes_that_a_daemon_starts_during_another_job_stay(
    queue: Queue, sleeper: MarkedSleep, prefix: str
) -> None:
    """Also if nothing but its descent shows of which job it is."""
    go, went = queue.file("go"), queue.file("went")
    queue.serve(workers=1)
    script = f"until [ -e {go} ]; do sleep 0.02; done; setsid sleep {sleeper} & touch {went}"
    first = queue.add(
        f"{prefix} setsid sh -c '{script}' >/dev/null 2>&1 & exit 0", leave_children=True
    )
    queue.wait(first)
    other = MarkedSleep()
    second = queue.add(
        f"touch {go}; until [ -e {went} ]; do sleep 0.02; done; sleep {other} & sleep 0.1; exit 0"
    )
    assert queue.wait(second).label == "completed"
    assert other.living() == []
    eventually(lambda: len(sleeper.living()) == 1, "the sleep alone: its parent has ended")


def test_the_usage_of_a_daemon_is_not_counted_for_another_job(queue: Queue) -> None:
    go, went = queue.file("go"), queue.file("went")
    queue.serve(workers=1)
    burn = f"until [ -e {go} ]; do sleep 0.02; done; timeout 0.5 sh -c 'while :; do :; done'"
    command = f'setsid sh -c "{burn}; touch {went}" >/dev/null 2>&1 & exit 0'
    assert queue.wait(queue.add(command, leave_children=True)).label == "completed"
    name = queue.add(f"touch {go}; until [ -e {went} ]; do sleep 0.05; done; sleep 0.1")
    assert queue.wait(name).label == "completed"
    (attempt,) = queue.attempts(name)
    assert attempt.cpu_ms is not None
    assert attempt.cpu_ms < 300


def test_a_daemon_that_ends_later_is_reaped(queue: Queue, sleeper: MarkedSleep) -> None:
    queue.serve(workers=1)
    daemon = spare(queue, sleeper)
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{daemon}"), "no zombie")


def test_a_process_that_holds_the_pipe_does_not_hold_the_worker(
    one_worker: Queue, sleeper: MarkedSleep
) -> None:
    name = one_worker.add(f"echo before; sleep {sleeper} & echo after; exit 0", leave_children=True)
    assert one_worker.wait(name).label == "completed"
    assert one_worker.output(name) == b"before\nafter\n"
    assert len(sleeper.living()) == 1
    assert one_worker.wait(one_worker.add("true")).label == "completed"


@pytest.mark.parametrize(
    "forge",
    [
        f"prlimit --rttime={1 << 62 | 1 << 60 | 1}:",
        "env -i QUEUED_INSTANCE=x QUEUED_LEAVE_CHILDREN=1",
        "env QUEUED_LEAVE_CHILDREN=1 QUEUED_ATTEMPT=9",
    ],
    ids=["limit", "environment", "own environment"],
)
def test_a_mark_that_a_command_forges_leaves_nothing(
    one_worker: Queue, sleeper: MarkedSleep, forge: str
) -> None:
    """Only the marks of runs that have left processes are believed."""
    unmark = "prlimit --rttime=unlimited" if forge.startswith("env") else ""
    name = one_worker.add(f"{unmark} {forge} setsid sleep {sleeper} >/dev/null 2>&1 & sleep 0.2")
    assert one_worker.wait(name).label == "completed"
    assert sleeper.living() == []
