"""The fields of a job: accepted and refused values."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.core import job_spec
from queued.core.errors import UsageError
from queued.core.field_checks import LIMITS, MAX_COMMAND_BYTES, MAX_ENV_BYTES
from queued.core.job_spec import FIELDS, new_job
from queued.core.model import NewJob
from queued.core.settings import MAX_HOOK_BYTES

ODD = [math.nan, math.inf, -math.inf, 10**400, -(10**400), "\0", "\ud800", "\x1b[31m", "9" * 5000]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from([*FIELDS, *job_spec.READ_ONLY]) | st.text()


def _job(**fields: Any) -> NewJob:
    return new_job({"command": "true", **fields})


def test_an_id_that_names_other_jobs_is_refused() -> None:
    for name in ("@last", "@-2", "@x"):
        with pytest.raises(UsageError, match="id must not begin with @"):
            _job(id=name)
    assert _job(queue="@x").queue == "@x"


def _options(**fields: Any) -> Any:
    return json.loads(_job(**fields).options)


@given(JSON | st.dictionaries(NAMES, JSON))
def test_any_payload_is_a_job_or_one_clear_line(value: object) -> None:
    try:
        job = new_job(value)
    except UsageError as refusal:
        assert str(refusal).isprintable()
        assert len(str(refusal)) < 330
    else:
        job.command.encode()
        json.loads(job.options)


@given(st.sampled_from(list(FIELDS)), JSON)
def test_any_value_of_any_field_is_taken_or_refused_by_name(name: str, value: object) -> None:
    try:
        new_job({"command": "true", name: value})
    except UsageError as refusal:
        assert name in str(refusal)
        assert str(refusal).isprintable()


@given(st.text(min_size=1))
def test_a_command_is_kept_as_it_was_given_or_refused(command: str) -> None:
    try:
        job = new_job({"command": command})
    except UsageError:
        assert not command.strip() or "\0" in command
    else:
        assert job == NewJob(command)


@pytest.mark.parametrize("value", [None, [], "x", 1, True], ids=repr)
def test_a_job_is_an_object(value: object) -> None:
    with pytest.raises(
        UsageError, match=r'^a job is a JSON object such as {"command": "sleep 2"}, not'
    ):
        new_job(value)


@pytest.mark.parametrize("value", [{}, {"command": None}])
def test_a_command_is_needed(value: object) -> None:
    with pytest.raises(UsageError, match="^a job needs a command"):
        new_job(value)


@pytest.mark.parametrize("command", ["", " \n\t", "a\0b", 7, ["ls"], "\ud800", "x" * 131_072])
def test_commands_that_are_refused(command: object) -> None:
    with pytest.raises(UsageError, match="command"):
        new_job({"command": command})


def test_the_longest_command_is_counted_in_bytes() -> None:
    assert new_job({"command": "x" * MAX_COMMAND_BYTES})
    with pytest.raises(UsageError, match="131072 bytes, more than 131071"):
        new_job({"command": "\N{LATIN SMALL LETTER E WITH ACUTE}" * 65_536})


@pytest.mark.parametrize("name", sorted(job_spec.READ_ONLY))
def test_fields_that_users_cannot_set_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"^'{name}' cannot be set"):
        _job(**{name: 1})


def test_an_unknown_field_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(
        UsageError, match="^unknown field 'xyz'; see the fields in: queuectl enqueue --help$"
    ):
        new_job({"xyz": 1})
    with pytest.raises(UsageError, match="^unknown field 'comand'; did you mean 'command'"):
        new_job({"comand": "true"})


def test_fields_that_are_null_are_not_given() -> None:
    assert _job(**dict.fromkeys(set(FIELDS) - {"command"} - job_spec.READ_ONLY)) == NewJob("true")


def test_every_field_finds_its_place() -> None:
    job = _job(id="a", queue="q", priority=-3, delay="1.5s", max_retries=0, timeout="2m", nice=5)
    assert job == NewJob(
        "true", "a", "q", -3, None, 1500, 0, options='{"nice": 5, "timeout": 120.0}'
    )
    assert _job(run_at="1970-01-01T00:00:01Z").run_at_ms == 1000


def test_run_at_and_delay_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="run_at or delay, not both"):
        _job(run_at=0, delay=0)


@pytest.mark.parametrize("word", ["a", "x" * 64, "job-1", "\N{GREEK SMALL LETTER ALPHA}.b_c:d@e"])
@pytest.mark.parametrize("name", ["id", "queue"])
def test_words_that_are_taken(name: str, word: str) -> None:
    assert getattr(_job(**{name: word}), name) == word


@pytest.mark.parametrize(
    "start", [{}, {"run_at": "2030-01-01T00:00Z"}, {"delay": "1h"}], ids=["now", "run_at", "delay"]
)
@pytest.mark.parametrize(
    "end",
    [{"expires_at": "2020-01-01T00:00Z"}, {"deadline": "2020-01-01T00:00Z"}, {"expires_in": 0}],
    ids=["expires_at", "deadline", "expires_in"],
)
def test_a_job_that_would_expire_before_it_is_due_is_refused(
    start: dict[str, object], end: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match=r"would expire \(.*Z\) before it is due \(.*Z\)"):
        _job(**start, **end)
    assert _job(**start, expires_at="9999-01-01")


@pytest.mark.parametrize(
    "word", ["", "x" * 65, "a b", "a/b", "-a", "a\n", "\x1b", "\u00a0", 1, "\ud800"]
)
@pytest.mark.parametrize("name", ["id", "queue"])
def test_words_that_are_refused(name: str, word: object) -> None:
    with pytest.raises(UsageError, match=f"^{name} "):
        _job(**{name: word})


def test_required_labels_are_kept_in_one_form() -> None:
    assert _job(requires=["zone=a", "gpu", "gpu"]).requires == "gpu,zone=a"
    assert _job(requires=[]).requires == _job().requires == ""


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("backoff_base", 1, 1.0),
        ("backoff_base", 1.5, 1.5),
        ("timeout", "90", 90.0),
        ("kill_grace", "500ms", 0.5),
        ("no_retry_on", [2, 1, 2], [1, 2]),
        ("defer_on", [], []),
        ("leave_children", True, True),
        ("env", {"A": "1", "B": ""}, {"A": "1", "B": ""}),
        ("env", {"QUEUED_PARENT_ID": "x"}, {"QUEUED_PARENT_ID": "x"}),  # to try a hook by hand
        ("on_dead", "", ""),
        ("on_completed", "mail me", "mail me"),
        ("cwd", "/tmp", "/tmp"),  # noqa: S108 - only named
        ("umask", "0022", "0022"),
        ("limits", {"memory": "512M", "cpu": 60}, {"memory": 1 << 29, "cpu": 60}),
        ("limits", {"memory": 1 << 20}, {"memory": 1 << 20}),
    ],
)
def test_values_that_are_taken(field: str, value: object, kept: object) -> None:
    assert _options(**{field: value}) == {field: kept}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("priority", 1.0), ("priority", True), ("priority", 1_000_001), ("max_retries", -1)),
        *(("backoff_base", 0.99), ("backoff_base", math.nan), ("backoff_jitter", 1.01)),
        *(("backoff_max", "1y"), ("timeout", -1), ("timeout", "9" * 400), ("delay", "later")),
        *(("no_retry_on", [0]), ("no_retry_on", [256]), ("no_retry_on", [True]), ("defer_on", 1)),
        *(("leave_children", 1), ("split", "yes"), ("output_limit", -1), ("nice", 20)),
        *(("env", {"": "x"}), ("env", {"A=B": "x"}), ("env", {"A": 1}), ("env", {"A": "\0"})),
        *(("env", {"QUEUED_JOB_ID": "x"}), ("env", {"A": "x" * MAX_ENV_BYTES}), ("env", [])),
        *(("on_dead", 1), ("on_dead", "\0"), ("on_dead", "\ud800")),
        *(("on_completed", "x" * (MAX_HOOK_BYTES + 1)), ("on_completed", ["true"])),
        *(("cwd", "tmp"), ("cwd", "/a\0"), ("cwd", "/" + "x" * 4095), ("umask", "888")),
        *(("umask", "1777"), ("umask", 18), ("umask", ""), ("limits", {"ram": 1}), ("limits", 1)),
        *(("limits", {"memory": "1K"}), ("limits", {"memory": "M"}), ("limits", {"files": 2})),
        *(("limits", {"memory": "9" * 5000 + "M"}), ("limits", {"memory": "\u0662M"})),
        *(("requires", "gpu"), ("requires", [1]), ("requires", [""]), ("requires", ["a b"])),
        *(("requires", ["a,b"]), ("requires", ["x" * 129]), ("requires", [*map(str, range(33))])),
        *(("run_at", "soon"), ("run_at", -1), ("run_at", True)),
    ],
)
def test_values_that_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{field}"):
        _job(**{field: value})


def test_every_field_and_limit_says_what_it_is() -> None:
    assert all(field.meaning for field in FIELDS.values())
    assert set(LIMITS) == set(FIELDS["limits"].meaning.split(": ")[1].split(", "))


def test_a_job_has_a_column_or_an_option_for_every_field() -> None:
    columns = {
        job_spec._COLUMNS.get(name, name) for name, field in FIELDS.items() if not field.option
    }
    assert columns == set(NewJob._fields) - {"options", "array_id"}


@pytest.mark.parametrize("stored", [None, "[]", "{", '{"nice": "x"}'])
def test_options_that_cannot_be_read(stored: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - NULL and damaged text have different messages
        job_spec.stored_options(stored)
