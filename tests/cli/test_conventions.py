"""The program as a whole: one word in five places, help, ends, locks, and a quick start."""

import ast
import inspect
import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from queued import __version__
from queued.ctl.command_line import ALIASES, COMMANDS, TOP, usage_of
from queued.ctl.generate_manual import manual
from queued.store.edits import Edits
from queued.store.protocols import Store
from queued.store.sqlite import sql_loader
from tests.cli.in_process_cli import run
from tests.cli.queuectl_runner import ROOT, QueuectlRunner
from tests.service import eventually, locked

# The verbs that are a method of Store and a query as well; the others read what several give.
CHAIN = {
    "enqueue": "enqueue",
    "list": "list",
    "show": "show",
    "cancel": "cancel",
    "hold": "hold",
    "release": "release",
    "edit": "edit",
    "signal": "signal",
    "run-now": "run_now",
    "status": "status",
    "purge": "purge",
    "dlq retry": "retry",
    "config set": "config_set",
    "config unset": "config_unset",
    "worker stop": "stop",
    "host drain": "drain",
    "host resume": "resume",
}


def _function(words: str) -> object:
    module = import_module(f"queued.ctl.{COMMANDS[words]}")
    verb = words.rsplit(maxsplit=1)[-1].replace("-", "_")
    return getattr(module, verb, None) or getattr(module, f"{verb}_")


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_has_a_usage_text_and_a_function(words: str) -> None:
    assert callable(_function(words))
    assert f"queuectl {words} [options]" in usage_of(words)
    assert max(map(len, usage_of(words).splitlines())) <= 80


@pytest.mark.parametrize("words", CHAIN)
def test_one_word_in_five_places(words: str) -> None:
    method = CHAIN[words]
    source = inspect.getsource(sys.modules[inspect.getmodule(_function(words)).__name__])  # type: ignore[union-attr]
    if words == "list":
        source = inspect.getsource(import_module("queued.ctl.job_table"))
    called = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value).endswith(("store", "store.edits"))
    }
    assert method in called
    assert hasattr(Store, method) or hasattr(Edits, method)
    assert method in sql_loader.load()


def test_help_fits_a_screen(queuectl: QueuectlRunner) -> None:
    out = queuectl.ok("--help")
    assert out == queuectl.ok("help") == queuectl.ok("-h") == queuectl.ok("help", "help") == TOP
    assert len(out.splitlines()) <= 24
    assert max(map(len, out.splitlines())) <= 80
    assert all(words.split()[-1] in out for words in COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_of_each_command_touches_nothing(tmp_path: Path, words: str) -> None:
    """All default paths are in that directory."""
    command, helped = words.split(), (0, usage_of(words), "")
    assert run([*command, "--help"]) == helped
    assert run(["--db", "/nowhere/x", *command, "-h"]) == helped
    assert run(["help", *command]) == helped
    assert run([*command, "--version"]) == (0, f"queuectl {__version__}\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases(alias: str) -> None:
    assert run([alias, "--help"]) == run(["help", alias]) == (0, usage_of(ALIASES[alias]), "")
    assert alias in TOP


READERS = [
    "list",
    "show a",
    "logs a",
    "wait a",
    "cancel a",
    "hold a",
    "release a",
    "rerun a",
    "edit --set priority=1 a",
    "move --first a",
    "signal a USR1",
    "run-now a",
    "status",
    "purge --all",
    "worker list",
    "host list",
]


@pytest.mark.sqlite_only
@pytest.mark.parametrize("words", [*READERS, "dlq list", "dlq retry --all", "config unset workers"])
def test_a_command_that_adds_nothing_makes_no_database(
    queuectl: QueuectlRunner, words: str
) -> None:
    done = queuectl(*words.split())
    told = f"queuectl: there is no database at {queuectl.database}; the first enqueue creates it\n"
    assert done == (3, "", told)
    assert queuectl.json("config", "get", "workers")["value"] == 4
    assert queuectl.dump() is None


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "url", ["mysql://host/name", "file:queue.db", "sqlite:///x", "postgresql:"]
)
def test_another_url_is_no_database(queuectl: QueuectlRunner, url: str) -> None:
    told = (
        f"queuectl: {url!r} is neither the path of an SQLite file nor postgresql://HOST/DATABASE\n"
    )
    assert queuectl("--db", url, "enqueue", "true") == (2, "", told)
    assert queuectl("enqueue", "true", QUEUECTL_DB=url) == (2, "", told)
    assert list(queuectl.directory.iterdir()) == []


def test_help_of_a_group(queuectl: QueuectlRunner) -> None:
    out = queuectl.ok("help", "dlq")
    assert "queuectl dlq list" in out
    assert "queuectl dlq retry" in out


def test_the_manual_is_up_to_date() -> None:
    assert (ROOT / "docs/queuectl.md").read_text("utf-8") == manual()


UNKNOWN = {
    ("lst",): "unknown command 'lst'; did you mean 'list'? (see: queuectl --help)",
    ("zzzzzz",): "unknown command 'zzzzzz' (see: queuectl --help)",
    ("--foo", "list"): "unknown option '--foo' (see: queuectl --help)",
    ("worker",): "worker takes start, stop or list",
    ("worker", "strat"): "worker takes start, stop or list, not 'strat'; did you mean 'start'?",
    ("help", "lst"): "unknown command 'lst'; did you mean 'list'? (see: queuectl --help)",
    ("list", "--db", ""): "--db takes a path, not an empty text",
    ("list", "--limit", "0"): "--limit takes a whole number from 1, not '0'",
}


@pytest.mark.parametrize("words", UNKNOWN, ids=" ".join)
def test_unknown_words(queuectl: QueuectlRunner, words: tuple[str, ...]) -> None:
    assert queuectl(*words) == (2, "", f"queuectl: {UNKNOWN[words]}\n")
    assert queuectl.dump() is None


@pytest.mark.sqlite_only
def test_a_path_that_is_not_utf_8_makes_no_file(queuectl: QueuectlRunner) -> None:
    done = queuectl("--db", "\udcff.db", "list")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(" is not valid UTF-8\n")
    assert list(queuectl.directory.iterdir()) == []


def test_usage_lines_of_that_command_only(queuectl: QueuectlRunner) -> None:
    done = queuectl("show", "--foo", "a")
    told = "queuectl: unknown option --foo\nUsage: queuectl show [options] [--] JOB\n"
    assert done == (2, "", told)
    assert queuectl("show", "a", "b").err.startswith("queuectl: unexpected argument 'b'\nUsage:")
    done = queuectl()
    assert (done.code, done.out) == (2, "")
    assert done.err == f"queuectl: a command is missing\n{TOP}"


@pytest.mark.sqlite_only
def test_options_may_come_first(queuectl: QueuectlRunner) -> None:
    queuectl.ok("--db=other.db", "enqueue", "true")
    assert (queuectl.directory / "other.db").exists()
    assert json.loads(queuectl.ok("--json", "--db=other.db", "list"))[0]["command"] == "true"


def test_a_full_disk_behind_stdout(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    for words in (["list"], ["show", "a"], ["status", "--json"]):
        with Path("/dev/full").open("wb") as full:
            process = queuectl.start(*words, stdout=full)
            _, err = process.communicate(timeout=10)
        assert process.returncode == 74
        assert err.decode() == "queuectl: cannot write the result: No space left on device\n"


INTERRUPTED = """
import sys
from queued.ctl.command_line import main
from queued.store.sqlite import sql_loader
from queued.store.sqlite.client_store import SqliteStore

forever = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
statements, plain = sql_loader.load(), SqliteStore.select
sql_loader.load = lambda: {**statements, "select_state": forever, "select_completed": forever}

def select(*words, **named):
    print("begun", flush=True)
    return plain(*words, **named)

SqliteStore.select = select
sys.exit(main(["purge", "--all"]))
"""


@pytest.mark.sqlite_only
def test_ctrl_c_ends_a_statement_that_takes_long(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    line = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(line, env=queuectl.env(), stdout=-1, stderr=-1) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_stdout_is_closed(queuectl: QueuectlRunner) -> None:
    line = ["sh", "-c", 'exec "$@" >&-', "sh", *queuectl.line("enqueue", '{"command":"x"}')]
    done = subprocess.run(line, env=queuectl.env(), stderr=subprocess.PIPE, check=False)
    assert done.returncode == 74
    assert done.stderr == b"queuectl: standard output is closed; nothing was done\n"
    assert queuectl.dump() is None


def test_ascii_terminals(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", "echo ü" + "x" * 200)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert r"echo \xfcx" in queuectl("list", **plain).out
    assert json.loads(queuectl("list", "--json", **plain).out)[0]["command"].startswith("echo ü")


@pytest.mark.sqlite_only
def test_a_foreign_file_is_not_touched(queuectl: QueuectlRunner) -> None:
    queuectl.database.write_bytes(b"not a database, but something that matters\n" * 50)
    kept = queuectl.database.read_bytes()
    done = queuectl("list")
    assert (done.code, done.out, done.err.count("\n")) == (78, "", 1)
    assert queuectl.database.read_bytes() == kept


def _with_limit(queuectl: QueuectlRunner, limit_s: float, *words: str) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from queued.ctl.command_line import main; "
        f"sys.exit(main(sys.argv[1:], busy_limit_s={limit_s}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], env=queuectl.env(), stderr=subprocess.PIPE
    )


@pytest.mark.sqlite_only
def test_a_locked_database(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    with locked(queuectl.location["QUEUECTL_DB"]):
        with _with_limit(queuectl, 0.2, "cancel", "a") as process:
            _, err = process.communicate(timeout=10)
        assert process.returncode == 75
        assert err.decode().startswith(f"queuectl: {queuectl.engine.name} stayed locked")
        assert err.count(b"\n") == 1
        process = queuectl.start("cancel", "a")
        assert process.stderr
        began = time.monotonic()
        told = b"queuectl: waiting for the database: another program holds it\n"
        assert process.stderr.readline() == told
        assert time.monotonic() - began >= 1.9
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"a cancelled\n", b"")


@pytest.mark.parametrize(
    ("words", "code"),
    [(["bogus"], 2), (["show", "x"], 3), (["purge", "--older-than", "7d"], 0), (["list"], 0)],
)
def test_without_standard_error_the_exit_code_tells_the_failure(
    queuectl: QueuectlRunner, words: list[str], code: int
) -> None:
    queuectl.run("a")
    with open("/dev/full", "wb") as full:
        process = queuectl.start(*words, stderr=full)
        assert process.communicate(timeout=10)[1] is None
    assert process.returncode == code


def test_interrupt(queuectl: QueuectlRunner) -> None:
    process = queuectl.start("enqueue", "-", stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(b'{"command":"x"}\n')
    process.stdin.flush()
    command_line = Path(f"/proc/{process.pid}/cmdline")
    eventually(lambda: b"ctl" in command_line.read_bytes() and _reads(process))
    process.send_signal(2)
    assert process.wait(10) == 130
    assert queuectl.dump() is None


INTERRUPTED_IMPORT = """
import os, signal, sys
from queued.ctl.__main__ import program

class Finder:
    def find_spec(name, *_):
        if name == "queued.ctl.arguments":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
program()
"""


def test_interrupt_during_the_imports(queuectl: QueuectlRunner) -> None:
    line = [sys.executable, "-c", INTERRUPTED_IMPORT]
    done = subprocess.run(line, env=queuectl.env(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def _reads(process: subprocess.Popen[bytes]) -> bool:
    """Whether it sleeps in a read of its standard input."""
    return Path(f"/proc/{process.pid}/syscall").read_text().split()[:2] == ["0", "0x0"]


SLOW = {"dataclasses", "inspect", "subprocess", "pathlib", "structlog", "importlib.metadata"}
LAZY = {"tomllib", "inotify_simple", "wcwidth", "shutil", "random", "datetime", "shlex", "difflib"}
OWN = {"queued.core.records", "queued.core.runs", "queued.ctl.table", "queued.store.instance_lock"}


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["--help"], {"apsw", "docopt", "json", *LAZY, *SLOW}),
        (["enqueue", '{"command":"x"}'], LAZY | SLOW | OWN),
        (["status", "--json"], (LAZY | SLOW) - {"datetime"}),
        (["list"], LAZY | SLOW),
    ],
)
def test_a_command_imports_what_it_needs(
    queuectl: QueuectlRunner, words: list[str], without: set[str]
) -> None:
    queuectl.add("a")
    code = "import sys; from queued.ctl.command_line import main; sys.exit(main())"
    loaded = _loaded(queuectl, code, *words) - _loaded(queuectl, "pass")
    assert "queued.ctl.arguments" in loaded
    assert loaded & without == set()


def _loaded(queuectl: QueuectlRunner, code: str, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, *words],
        env=queuectl.env(),
        cwd=queuectl.directory,
        capture_output=True,
        check=True,
    )
    return {row.rpartition("|")[2].strip() for row in done.stderr.decode().splitlines()}
