"""config: values, spellings, where they come from, and what is refused."""

from pathlib import Path

import pytest

from queued.core.settings import SETTINGS
from tests.cli.queuectl_runner import QueuectlRunner


def test_list_shows_every_setting(queuectl: QueuectlRunner) -> None:
    listed = queuectl.json("config", "list")
    assert list(listed) == list(SETTINGS)
    assert listed["workers"] == {"value": 4, "source": "default"}
    assert listed["db"] == {"value": queuectl.engine.name, "source": "environment"}
    lines = queuectl.ok("config", "list").splitlines()
    assert lines[:2] == [
        "KEY                     SOURCE       VALUE",
        "workers                 default      4",
    ]


@pytest.mark.parametrize(
    ("spelling", "key", "text", "value"),
    [
        ("backoff-base", "backoff_base", "1.5", 1.5),
        ("default-max-retries", "default_max_retries", "0", 0),
        ("environment", "environment", "clean", "clean"),
    ],
)
def test_set_get_unset(
    queuectl: QueuectlRunner, spelling: str, key: str, text: str, value: object
) -> None:
    before = queuectl.json("config", "get", key)
    assert queuectl.json("config", "set", spelling, text) == {"key": key, "value": value}
    stored = {"key": key, "value": value, "source": "stored"}
    assert queuectl.json("config", "get", spelling) == stored
    assert queuectl.json("config", "unset", spelling) == {"key": key, "unset": True}
    assert queuectl.json("config", "get", key) == before


def test_config_prints_values(queuectl: QueuectlRunner) -> None:
    assert queuectl.ok("config", "set", "max-retries", "5") == "default_max_retries = 5\n"
    assert queuectl.ok("config", "get", "max-retries") == "5\n"
    assert queuectl.ok("config", "unset", "max-retries") == "default_max_retries unset\n"
    done = queuectl("config", "unset", "max-retries")
    assert done == (0, "", "queuectl: default_max_retries was not stored in the database\n")


def test_which_source_wins(queuectl: QueuectlRunner, tmp_path: Path) -> None:
    conf = tmp_path / "my.conf"
    conf.write_text("workers = 5\nkill-grace = 7\n")
    config = ("--config", str(conf))
    assert queuectl.json("config", "get", "workers", *config)["source"] == "file"
    queuectl.ok("config", "set", "workers", "6")
    assert queuectl.json("config", "get", "workers", *config)["value"] == 6
    assert queuectl.json("config", "get", "kill_grace", *config)["value"] == 7
    assert queuectl.ok("config", "get", "workers", QUEUECTL_WORKERS="8") == "8\n"
    done = queuectl("config", "set", "workers", "9", QUEUECTL_WORKERS="8")
    assert done.code == 0
    told = "queuectl: QUEUECTL_WORKERS is set in this environment and overrides it here\n"
    assert done.err.startswith(told)


@pytest.mark.sqlite_only
def test_a_setting_of_leases_has_no_effect_on_sqlite(queuectl: QueuectlRunner) -> None:
    told = "queuectl: lease has no effect on SQLite\n"
    assert queuectl("config", "set", "lease", "100") == (0, "lease = 100\n", told)


def test_where_the_database_is(queuectl: QueuectlRunner, tmp_path: Path) -> None:
    conf = tmp_path / "my.conf"
    conf.write_text(f'db = "{tmp_path}/conf.db"\n')
    env = {name: text for name, text in queuectl.env().items() if name != "QUEUECTL_DB"}
    shown = [
        queuectl("config", "get", "db", "--config", str(conf)).out,
        queuectl("--db", "flag.db", "config", "get", "db").out,
        queuectl("config", "get", "db", "--db=flag.db").out,
    ]
    assert env["HOME"]
    assert shown == [f"{queuectl.engine.name}\n", f"{tmp_path}/flag.db\n", f"{tmp_path}/flag.db\n"]


BAD = {
    ("set", "workers", "0"): (2, "workers takes a whole number from 1 to 1024, not '0'"),
    ("set", "workers", "--", "-x"): (2, "workers takes a whole number from 1 to 1024, not '-x'"),
    ("set", "backoff_base", "0.5"): (2, "backoff_base takes a number from 1 to 1e+300"),
    ("set", "environment", "dirty"): (2, "environment takes one of inherit, clean"),
    ("set", "backof_base", "2"): (3, "unknown setting 'backof_base'; did you mean 'backoff_base'?"),
    ("get", "zzz"): (3, "unknown setting 'zzz'"),
    ("set", "db", "/x"): (2, "db cannot be stored in the database; set it in "),
    ("set", "log_level", "debug"): (2, "log_level cannot be stored in the database; set it in "),
    ("set", "workers"): (2, "VALUE is missing"),
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_settings_change_nothing(queuectl: QueuectlRunner, words: tuple[str, ...]) -> None:
    queuectl.ok("config", "set", "workers", "3")
    kept = queuectl.dump()
    done = queuectl("config", *words)
    assert (done.code, done.out) == (BAD[words][0], "")
    assert done.err.startswith(f"queuectl: {BAD[words][1]}")
    assert queuectl.dump() == kept


def test_a_bad_conf_file(queuectl: QueuectlRunner, tmp_path: Path) -> None:
    conf = tmp_path / "my.conf"
    conf.write_text("workes = 5\n")
    done = queuectl("enqueue", "--config", str(conf), "true")
    assert (done.code, done.out) == (78, "")
    assert done.err == f"queuectl: {conf}: unknown setting 'workes'; did you mean 'workers'?\n"
    conf.write_text("workers = = 5\n")
    done = queuectl("enqueue", "--config", str(conf), "true")
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert queuectl("list", "--config", str(tmp_path / "none")).code == 78
    assert queuectl.dump() is None


@pytest.mark.parametrize("text", ["workes = 5\n", "workers = = 5\n"])
def test_a_bad_conf_file_is_ignored_by_list_if_the_database_is_named(
    queuectl: QueuectlRunner, tmp_path: Path, text: str
) -> None:
    queuectl.add("a")
    conf = tmp_path / "my.conf"
    conf.write_text(text)
    done = queuectl("list", "--quiet", "--config", str(conf))
    assert (done.code, done.out) == (0, "a\n")
    assert done.err.startswith(f"queuectl: {conf}")
    assert done.err.endswith("; the file is ignored\n")
    assert done.err.count("\n") == 1
