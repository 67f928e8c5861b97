"""A service that cannot start says so in one line, exits with its code, and changes nothing."""

import errno
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from queued.__main__ import _open_log
from queued.core.errors import DeniedError
from queued.store import permissions
from tests.service import Queue, eventually, python_env, run_program, run_python


def start(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "queued", *arguments, cwd=cwd)


def refused(done: subprocess.CompletedProcess[str], code: int, says: str) -> None:
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("queued: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_foreign_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    refused(start("--db", str(path)), 78, "another program")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers = 0", "from 1 to 1024"),
        ("workers = ", "not valid TOML"),
    ],
)
def test_a_bad_conf_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    conf = tmp_path / "queuectl.conf"
    conf.write_text(text)
    done = start("--config", str(conf), "--db", str(tmp_path / "queue.db"))
    refused(done, 78, says)
    assert not (tmp_path / "queue.db").exists()


def test_a_check_warns_of_a_hook_that_cannot_be_run(tmp_path: Path) -> None:
    conf = tmp_path / "queuectl.conf"
    conf.write_text('on_dead = "/nowhere/mail x"\non_completed = "/bin/sh -c true"\n')
    done = start("--check", "--config", str(conf), "--db", str(tmp_path / "queue.db"))
    assert done.returncode == 0
    assert "queue.db: " in done.stdout
    assert done.stderr == "queued: warning: on_dead: /nowhere/mail cannot be run here\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--workers", "0"), "from 1 to 1024"),
        (("--log-level", "loud"), "one of debug"),
        (("--log-fil", "x", "--wat"), "unknown option --wat"),
        (("jobs",), "unexpected argument 'jobs'"),
        (("--config", ""), "--config needs a path, not an empty text"),
        (("--log-file", ""), "--log-file needs a path, not an empty text"),
    ],
)
def test_bad_usage_is_refused(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = start("--db", str(tmp_path / "queue.db"), *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "queue.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--check", "--db", ""), 2, "--db needs a path, not an empty text"),
        (("--check", "--db", "/dev/null"), 78, "/dev/null is not a regular file"),
        (("--db", "/dev/null"), 78, "/dev/null is not a regular file"),
        (("--check", "--db", "\udcff.db"), 2, "is not valid UTF-8"),
        (("--db", "\udcff.db"), 2, "is not valid UTF-8"),
    ],
    ids=["empty", "check null", "null", "check bytes", "bytes"],
)
def test_a_path_that_no_database_can_have(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = start(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert done.stderr.startswith("queued: ")
    assert says in done.stderr
    assert os.listdir(tmp_path) == []


def test_background_returns_when_ready_and_says_where_the_log_is(queue: Queue) -> None:
    done = queue.queuectl("worker", "start", "--count", "2", "--background")
    assert done.returncode == 0, done.stderr
    log = queue.log_path
    assert done.stdout == f"2 workers are ready; the log is {log}\n"
    assert '"event":"service.ready"' in log.read_text()
    assert queue.wait(queue.add("true")).label == "completed"
    again = queue.queuectl("worker", "start", "--background")
    assert (again.returncode, again.stdout) == (4, "")
    assert again.stderr.endswith("to start one more, add --another\n")
    another = queue.queuectl("worker", "start", "--count", "1", "--background", "--another")
    assert another.stdout.startswith("1 worker is ready"), another.stderr
    assert queue.queuectl("worker", "stop").returncode == 0
    eventually(lambda: log.read_text().count('"event":"service.stopped"') == 2)


def test_of_several_starts_in_the_background_at_once_only_one_starts_a_service(
    tmp_path: Path,
) -> None:
    queuectl = ("-m", "queued.ctl", "--db", str(tmp_path / "new" / "queue.db"), "worker")
    words = (*queuectl, "start", "--background", "--count", "1")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: run_python(*words), range(4)))
    assert run_python(*queuectl, "stop").stdout.count("stopped") == 1
    assert sorted(each.returncode for each in done) == [0, 4, 4, 4]


def test_a_relative_path_in_a_directory_that_is_gone_is_refused(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    program = f"exec {sys.executable} -P -m queued --check --db"
    done = [
        run_program(
            *("sh", "-c", f"mkdir {gone}; cd {gone}; rmdir {gone}; {program} {path}"),
            env=python_env(),
        )
        for path in ("queue.db", tmp_path / "queue.db")
    ]
    refused(done[0], 2, "the current directory no longer exists")
    assert done[1].returncode == 0


def test_background_reports_a_failure_to_start(tmp_path: Path) -> None:
    done = start("--background", "--db", str(tmp_path))
    refused(done, 78, "not a regular file")


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "Is a directory"), ("/proc/nope/x", "/proc/nope/x"), ("file/x", "file/x")],
)
def test_background_says_that_it_cannot_write_its_log(queue: Queue, name: str, says: str) -> None:
    queue.file("file").touch()
    log = os.path.join(queue.directory, name)
    done = start("--background", "--db", queue.path, "--log-file", log)
    refused(done, done.returncode, says)
    assert done.returncode in {74, 77}


@pytest.mark.parametrize(
    ("database", "log"),
    [
        ("q.db", "q.db"),
        ("q.db", "q.db-wal"),
        ("q.db", "q.db-journal"),
        ("q.db", "q.db.0123456789abc.lock"),
        ("log.1", "log"),
    ],
)
def test_a_log_is_no_file_of_the_queue_even_when_it_is_full(
    tmp_path: Path, database: str, log: str
) -> None:
    where = str(tmp_path / database)
    done = start("--background", "--db", where, "--log-file", str(tmp_path / log))
    refused(done, 2, "belongs to the database; choose another name")
    assert os.listdir(tmp_path) == []


def test_a_log_that_may_not_be_written_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(permissions, "make_file", denied)
    with pytest.raises(DeniedError, match=r"no permission to write .*/a\.log; check its owner"):
        _open_log(f"{tmp_path}/a.log")


def test_foreground_from_queuectl_is_queued_itself(queue: Queue) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "queued.ctl", "--db", queue.path, "worker", "start", "--count", "3"],
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: len(queue.store.workers()) == 3)
    (instance,) = queue.store.instances()
    assert instance.pid == process.pid
    process.terminate()
    assert process.wait(20) == 0


def test_processes_have_names_that_say_what_they_are(served: Queue) -> None:
    (instance,) = served.store.instances()
    others = {"queued:dispatch"} | ({"queued:warden"} if served.engine.spans_hosts else set())

    def named() -> bool:
        children = Path(f"/proc/{instance.pid}/task/{instance.pid}/children").read_text().split()
        names = {int(pid): Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
        workers = {worker.pid: f"queued:w{worker.worker}" for worker in served.store.workers()}
        unlisted = {names[pid] for pid in names.keys() - workers.keys()}
        right = {pid: names.get(pid) for pid in workers} == workers
        return len(workers) == 4 and right and unlisted == others

    eventually(named)


# A seccomp filter that refuses one system call, as of systemd's SystemCallFilter=; then queued.
FILTERED = """
import ctypes, struct, sys
call, error = int(sys.argv.pop(1)), int(sys.argv.pop(1))
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in (
    (0x20, 0, 0, 0),  # the number of the call
    (0x15, 0, 1, call),
    (0x06, 0, 0, 0x50000 | error),  # SECCOMP_RET_ERRNO
    (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
)))
libc = ctypes.CDLL(None, use_errno=True)
filtered = struct.pack("HL", 4, ctypes.addressof(program))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filtered, 0, 0):
    sys.exit("no seccomp")
from queued.__main__ import main
main()
"""
CALLS = {  # x86_64, others
    "pidfd_open or pidfd_send_signal": (434, 434),
    "signalfd": (289, 74),
    "timerfd_create": (283, 85),
}


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("name", CALLS)
def test_a_refused_system_call_is_named(tmp_path: Path, name: str, error: int) -> None:
    number = CALLS[name][os.uname().machine != "x86_64"]
    done = run_python("-c", FILTERED, str(number), str(error), "--db", tmp_path / "q.db")
    refused(done, 78, f"a seccomp filter refuses {name}; ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_proc_that_lacks_files_is_named(tmp_path: Path) -> None:
    script = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    service = (sys.executable, "-m", "queued", "--db", tmp_path / "q.db")
    done = run_program("unshare", "--mount", "sh", "-c", script, "sh", *service)
    refused(done, 78, "cannot read /proc/sys/kernel/random/boot_id: No such file or directory; ")
    assert list(tmp_path.iterdir()) == []


def test_a_start_without_descriptors_is_one_clear_line(tmp_path: Path) -> None:
    for limit in (8, 10):
        service = ("sh", sys.executable, "-m", "queued", "--db", tmp_path / "q.db")
        done = run_program("sh", "-c", f'ulimit -n {limit}; exec "$@"', *service)
        assert (done.returncode, done.stderr.count("\n")) == (74, 1)
        assert "Too many open files; raise the limits of the service" in done.stderr
    assert {file.name for file in tmp_path.iterdir()} <= {"q.db", "q.db-wal", "q.db-shm"}
