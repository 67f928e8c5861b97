"""Random command lines: a result or one clear refusal, a documented exit code, no traceback."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queued.core.job_spec import FIELDS
from queued.core.settings import SETTINGS
from queued.ctl.command_line import COMMANDS, usage_of
from tests.cli import in_process_cli
from tests.cli.in_process_cli import Done
from tests.cli.queuectl_runner import NO_SERVICE

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
# Commands that may wait for ever, or become another program.
ENDLESS = {"wait", "worker start", "logs"}
# The kernel passes any bytes but NUL to a program.
WORD = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12) | st.binary(
    max_size=8
).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
VALUE = (
    st.sampled_from(
        ["", "-1", "0", "1", "1e9", "nan", "inf", "10m", "0.5", "true", "-x", "--", "99"]
    )
    | st.integers().map(str)
    | WORD
)


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for all that is made, with a database that has some jobs."""
    directory = tmp_path_factory.mktemp("anything")
    directory.chmod(0o700)
    before = os.getcwd()
    os.chdir(directory)
    os.environ["QUEUECTL_DB"] = str(directory / "queue.db")
    for name in ("a", "ab", "job-1"):
        in_process_cli.check(["enqueue", json.dumps({"id": name, "command": "true"})])
    yield directory
    os.chdir(before)
    os.environ.pop("QUEUECTL_DB", None)


@pytest.fixture(autouse=True)
def database(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The surroundings of a test are cleaned before it."""
    monkeypatch.setenv("QUEUECTL_DB", str(here / "queue.db"))


def _json(done: Done) -> Any:
    assert done.err in ("", f"{NO_SERVICE}\n"), done
    return json.loads(done.out)


def _options(words: str) -> list[str]:
    """Every option that a usage text describes."""
    lines = (line.split() for line in usage_of(words).splitlines())
    return sorted({parts[0] for parts in lines if parts and parts[0].startswith("--")} - {"--"})


@MANY
@given(
    st.lists(st.sampled_from(sorted({*" ".join(COMMANDS).split(), "--", "-"})) | VALUE, max_size=5)
)
def test_any_words(words: list[str]) -> None:
    if " ".join(words[:2]) not in ENDLESS and words[:1] not in (["wait"], ["logs"]):
        in_process_cli.check(words)


@pytest.mark.parametrize("words", sorted(set(COMMANDS) - ENDLESS))
@settings(MANY, max_examples=40)
@given(st.data())
def test_any_options_of_a_command(words: str, data: st.DataObject) -> None:
    option = st.sampled_from([*_options(words), "--"])
    line = data.draw(st.lists(option | VALUE | st.tuples(option, VALUE).map("=".join), max_size=5))
    unwanted = {"--wait", "--db", "--config", "--force", "--to"}
    if not {word.partition("=")[0] for word in line} & unwanted:
        in_process_cli.check([*words.split(), *line])


@MANY
@given(JSON | st.dictionaries(st.sampled_from(sorted(FIELDS)) | st.text(max_size=5), JSON))
def test_any_payload(payload: object) -> None:
    done = in_process_cli.check(["enqueue", json.dumps(payload)])
    if done.code == 0:
        shown = _json(in_process_cli.check(["show", "--json", "--", done.out.removesuffix("\n")]))
        plain = json.dumps(payload)  # what is no object is a command
        assert shown["command"] == (payload["command"] if isinstance(payload, dict) else plain)
    else:
        assert done.out == ""


@MANY
@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_text_for_json(text: str) -> None:
    done = in_process_cli.check(
        ["enqueue", "--", text] if text.startswith("-") else ["enqueue", text]
    )
    assert done.code in {0, 2, 4}


@MANY
@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_lines(text: str) -> None:
    before = _count()
    done = in_process_cli.check(["enqueue", "-"], stdin=text)
    assert _count() - before == (0 if done.code else done.out.count("\n"))


def _count() -> int:
    counts = _json(in_process_cli.check(["db", "stats", "--json"]))["rows"]
    return int(counts["jobs"])


@MANY
@given(st.sampled_from(["show", "cancel", "dlq retry", "logs", "wait --timeout 0"]), WORD)
def test_any_id(command: str, name: str) -> None:
    done = in_process_cli.check([*command.split(), "--", name])
    assert done.code in {0, 1, 2, 3, 4, 124}


@MANY
@given(st.sampled_from([*SETTINGS, "max-retries"]) | WORD, VALUE | WORD)
def test_any_setting(key: str, value: str) -> None:
    done = in_process_cli.check(["config", "set", "--json", "--", key, "--", value])
    if done.code == 0:
        name, taken = (_json(done)[field] for field in ("key", "value"))
        assert _json(in_process_cli.check(["config", "get", "--json", name]))["value"] == taken
        in_process_cli.check(["config", "unset", name])
    else:
        assert done.code in {2, 3}


@MANY
@given(st.sampled_from(["--state", "--queue", "--limit"]), VALUE | st.sampled_from(["dead", "a"]))
def test_any_filter(option: str, value: str) -> None:
    done = in_process_cli.check(["list", "--json", f"{option}={value}"])
    assert done.code in {0, 2}
    if done.code == 0:
        assert isinstance(_json(done), list)


TOML = st.dictionaries(
    st.sampled_from([*SETTINGS, "max-retries", "zzz"]),
    st.sampled_from(["1", "true", '"text"', "-5", "1e400", "nan", "[]", "{}", "2026-01-01", "'x'"])
    | st.text(max_size=10),
    max_size=4,
).map(lambda table: "".join(f"{key} = {value}\n" for key, value in table.items()))


@MANY
@given(TOML | st.text(max_size=40))
def test_any_conf_file(here: Path, text: str) -> None:
    conf = here / "my.conf"
    conf.write_text(text, "utf-8", errors="surrogateescape")
    conf.chmod(0o600)
    done = in_process_cli.check(["config", "list", "--json", "--config", str(conf)])
    assert done.code in {0, 78}
    assert done.code == 0 or str(conf) in done.err or "the conf file" in done.err


@MANY
@given(st.sampled_from(sorted(SETTINGS)), WORD)
def test_any_variable(key: str, value: str) -> None:
    name = f"QUEUECTL_{key.upper()}"
    if key == "db":
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(name, value)
        done = in_process_cli.check(["config", "get", key])
    assert done.code in {0, 78}
    assert done.code == 0 or name in done.err
