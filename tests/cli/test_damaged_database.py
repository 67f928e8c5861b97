"""Damaged databases: each command prints one clear line and exits with a documented code."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import in_process_cli
from tests.service import python_env, run_python
from tests.store.test_upgrade import DUMPS, _load

READING = (
    *("list", "list --json", "list --state failed", "show completed", "show failed --json"),
    *("logs failed", "wait completed", "status --json", "dlq list", "worker list --json"),
    *("config list", "purge", "db check", "db check --full", "db stats", "db backup --force x.db"),
)
WRITING = (
    *('enqueue {"command":"true"}', "cancel pending", "dlq retry dead", "config set workers 3"),
    *("purge --yes", "db vacuum", "worker stop --no-wait"),
)

pytestmark = pytest.mark.sqlite_only


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with a job of each kind."""
    path = _load(DUMPS[-1], str(tmp_path_factory.mktemp("sound") / "queue.db"))
    return Path(path).read_bytes()


def _damaged(sound: bytes, dice: random.Random) -> bytes:
    content = bytearray(sound)
    for _ in range(dice.choice([1, 3, 10, 100])):
        # The header and the schema are the first pages; most of the rest is empty.
        place = dice.randrange(dice.choice([100, 8192, len(content)]))
        content[place] = dice.randrange(256)
    return bytes(content[: dice.randrange(len(content))] if dice.random() < 0.1 else content)


def _lay(path: Path, content: bytes) -> None:
    for side in ("-wal", "-shm", "-journal"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_at_random_places(
    sound: bytes, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dice, path = random.Random(seed), tmp_path / "queue.db"
    for _ in range(25):
        content = _damaged(sound, dice)
        for command in dice.sample([*READING, *WRITING], 4):
            _lay(path, content)
            done = in_process_cli.check(["--db", str(path), *command.split()])
            if done.code == 78:
                told = [line for line in done.err.splitlines() if line.startswith("queuectl: ")]
                assert len(told) == 1, done.err
            if done.code == 78 and command in READING:
                assert path.read_bytes() == content, (command, done)


def test_the_service_refuses_what_is_damaged(sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    for content in (b"my notes\n" * 500, sound[:3000], b"\xff" * 100 + sound[100:]):
        _lay(path, content)
        for words in ([], ["--check"]):
            done = run_python("-m", "queued", "--db", path, *words)
            assert (done.returncode, done.stderr.count("\n")) == (78, 1), done
            assert path.read_bytes() == content


def test_a_service_buries_a_job_whose_row_is_damaged(sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    options = b'{"env": {"A": "1"}}'
    assert sound.count(options) == 1
    _lay(path, sound.replace(options, b'{"env": {"A": "1"}]'))
    service = subprocess.Popen(
        [sys.executable, "-m", "queued", "--db", str(path), "--log-format", "json"],
        env=python_env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert service.stdout is not None
    buried = next(line for line in service.stdout if b'"outcome":"spawn-error"' in line)
    service.terminate()
    out, err = service.communicate(timeout=30)
    assert json.loads(buried)["state"] == "dead"
    assert service.returncode == 0
    assert b"Traceback" not in out + err


def test_a_header_that_forbids_to_write_is_damage(sound: bytes, tmp_path: Path) -> None:
    """It is not reported as a lack of permission, and a restore replaces the database."""
    path, good = tmp_path / "queue.db", tmp_path / "good.db"
    _lay(good, sound)
    _lay(path, sound[:18] + b"\x09" + sound[19:])
    for command in ("enqueue -- true", "config set workers 3", "db vacuum"):
        done = in_process_cli.check(["--db", str(path), *command.split()])
        assert (done.code, done.out, done.err.count("\n")) == (78, "", 1), done
        assert "only a newer SQLite may write it" in done.err
        assert "append-only (see: lsattr;" in done.err, "SQLite reports both in the same way"
    assert in_process_cli.check(["--db", str(path), "db", "restore", str(good)]).code == 0
    assert in_process_cli.check(["--db", str(path), "enqueue", "--", "true"]).code == 0
