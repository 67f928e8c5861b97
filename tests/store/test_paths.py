"""Where the conf file and the database are."""

import os
from pathlib import Path

import pytest

from queued.core.errors import ConfigError, DeniedError, UsageError
from queued.store import paths


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture
def root_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_the_standard_database_of_root(root_user: None) -> None:
    assert paths.location("", {}) == "/var/lib/queued/queue.db"


def test_the_default_database_of_an_ordinary_user(ordinary_user: None, tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": "/x/state"}
    assert paths.location("", environment) == "/x/state/queued/queue.db"
    assert paths.location("", {}) == f"{tmp_path}/.local/state/queued/queue.db"


@pytest.mark.parametrize("state", [{}, {"XDG_STATE_HOME": "state"}])
def test_a_user_without_a_home_must_name_the_database(
    ordinary_user: None, monkeypatch: pytest.MonkeyPatch, state: dict[str, str]
) -> None:
    """Else it would be another one in each directory."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UsageError, match="set HOME, or give its path with --db"):
        paths.location("", state)
    assert paths.location("/x/q.db", state) == "/x/q.db"


def test_a_member_without_an_own_database_uses_the_systems(
    ordinary_user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, own = tmp_path / "system.db", tmp_path / "state" / "queued" / "queue.db"
    monkeypatch.setattr(paths, "SYSTEM_DATABASE", str(system))
    environment = {"XDG_STATE_HOME": f"{tmp_path}/state"}
    assert paths.location("", environment) == str(own)
    system.touch()
    assert paths.location("", environment) == str(system)
    assert paths.location("", environment, serving=True) == str(own)
    own.parent.mkdir(parents=True)
    own.touch()
    assert paths.location("", environment) == str(own)


def test_a_configured_database_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.location("a/q.db", {}) == f"{tmp_path}/a/q.db"
    assert paths.location("~/q.db", {}) == f"{tmp_path}/q.db"


def test_a_database_has_one_path_through_all_links(tmp_path: Path) -> None:
    real = tmp_path / "state" / "queue.db"
    real.parent.mkdir()
    (tmp_path / "directory").symlink_to("state")
    (tmp_path / "file.db").symlink_to(real)
    (tmp_path / "both.db").symlink_to("directory/queue.db")
    names = ("state/queue.db", "directory/queue.db", "file.db", "both.db", "~/file.db")
    for there in (False, True):
        assert {paths.location(f"{tmp_path}/{name}", {}) for name in names[:4]} == {str(real)}
        assert paths.location(names[4], {}) == str(real)
        if not there:
            real.touch()


def test_the_default_directory_may_be_a_link(ordinary_user: None, tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("elsewhere")
    environment = {"XDG_STATE_HOME": f"{tmp_path}/state"}
    assert paths.location("", environment) == f"{tmp_path}/elsewhere/queued/queue.db"


def test_a_path_that_is_not_utf_8_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^'/.* is not valid UTF-8$"):
        paths.location(f"{tmp_path}/\udcff/queue.db", {})


@pytest.mark.parametrize("name", ["q.db-wal", "q.db-shm", "q.db-journal", "q.db.abc.lock"])
def test_the_name_of_a_side_file_is_bad_usage(tmp_path: Path, name: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(name)
    with pytest.raises(UsageError, match="named like a file beside a database"):
        paths.location(str(link), {})


def test_a_conf_file_that_was_named_wins(ordinary_user: None) -> None:
    environment = {"QUEUECTL_CONF": "/b.conf"}
    assert paths.conf_path("/a.conf", environment) == "/a.conf"
    assert paths.conf_path(None, environment) == "/b.conf"


def test_the_users_own_conf_file_is_found(ordinary_user: None, tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    own = tmp_path / "queued" / "queuectl.conf"
    assert paths.conf_path(None, environment) != str(own)
    own.parent.mkdir()
    own.touch()
    assert paths.conf_path(None, environment) == str(own)


def test_root_reads_no_users_conf_file(root_user: None, tmp_path: Path) -> None:
    own = tmp_path / "queued" / "queuectl.conf"
    own.parent.mkdir()
    own.touch()
    assert paths.conf_path(None, {"XDG_CONFIG_HOME": str(tmp_path)}) != str(own)


def test_the_values_of_a_conf_file(tmp_path: Path) -> None:
    conf = tmp_path / "x.conf"
    conf.write_text('workers = 8\nbackoff-base = 1.5\nlog_level = "debug"\n')
    expected = {"workers": 8, "backoff_base": 1.5, "log_level": "debug"}
    assert paths.read_conf(str(conf)) == expected
    assert paths.read_conf(None) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"workers = 8\nx\n", "is not valid TOML: .*line 2"),
        (b"\xff", "is not valid TOML"),
        (b"workers = " + b"9" * 5000, "is not valid TOML"),
        (b"a = " + b"[" * 2000, "is not valid TOML: .*too deeply"),
        (b"a = 1\n" * 20_000, "is larger than 64 KiB"),
        (b"worker = 8", "unknown setting 'worker'; did you mean 'workers'"),
        (b"workers = 1\nworkers = 2", "is not valid TOML"),
        (b"workers = 0", "workers takes a whole number from 1 to 1024, not 0"),
        (b"log_level = 'loud'", "log_level takes one of debug"),
        (b"db = 'queue.db'", "db takes an absolute path or \\S+, not 'queue.db'"),
    ],
)
def test_a_conf_file_that_is_wrong_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    conf = tmp_path / "x.conf"
    conf.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{conf}:? {reason}"):
        paths.read_conf(str(conf))


def test_a_conf_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read .*: No such file"):
        paths.read_conf(str(tmp_path / "x.conf"))
    with pytest.raises(ConfigError, match="cannot read .*: Is a directory"):
        paths.read_conf(str(tmp_path))


def test_a_conf_file_that_is_a_fifo_is_refused(tmp_path: Path) -> None:
    """Whether a program has it open for writing or not."""
    fifo = tmp_path / "x.conf"
    os.mkfifo(fifo, 0o600)
    for flags in (os.O_RDONLY | os.O_NONBLOCK, os.O_RDWR):
        other = os.open(fifo, flags)
        with pytest.raises(ConfigError, match=f"^cannot read {fifo}: it is not a regular file$"):
            paths.read_conf(str(fifo))
        os.close(other)


@pytest.mark.parametrize(
    "url", ["postgresql://u:pw@h/d", "postgresql://u:p/w@h/d", "postgres://h/d?password=pw"]
)
def test_a_password_on_the_command_line_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="put it into ~/.pgpass") as refused:
        paths.must_be_no_secret(url)
    assert "pw" not in str(refused.value)
    for public in ("postgresql://u@h:5432/d?sslmode=x", "postgresql://h:5432/d?options=a@b"):
        paths.must_be_no_secret(public)


def test_a_conf_file_with_a_password_is_for_its_owner_only(tmp_path: Path) -> None:
    conf = tmp_path / "queuectl.conf"
    conf.write_text('db = "postgresql://u:secret@h/d"')
    conf.chmod(0o640)
    with pytest.raises(DeniedError, match=f"chmod go-rwx {conf}$"):
        paths.read_conf(str(conf))
    conf.chmod(0o600)
    assert paths.read_conf(str(conf)) == {"db": "postgresql://u:secret@h/d"}


def test_the_files_of_instances_are_in_the_first_directory_of_the_unit() -> None:
    environment = {"STATE_DIRECTORY": "/var/lib/queued:/var/lib/queued/jobs"}
    engine = paths.engine_at("postgresql://u:secret@h/d", environment)
    assert engine.instance_files.startswith("/var/lib/queued/postgres-")
    assert engine.name == "postgresql://u@h/d"
