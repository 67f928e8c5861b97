"""Each setting's type and range, and which source wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.core import settings
from queued.core.errors import ConfigError, NotFoundError, UsageError
from queued.core.settings import SETTINGS, Setting
from queued.core.settings_in_force import settings_of
from tests.default_settings import DEFAULTS

ALL = pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.key)
NUMBERS = [setting for setting in SETTINGS.values() if setting.kind not in (str, bool)]
OF_NUMBERS = pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.key)


def test_every_setting_has_a_default_and_every_default_a_setting() -> None:
    assert tuple(SETTINGS) == DEFAULTS._fields


@ALL
def test_a_default_is_of_its_own_type_and_in_its_own_range(setting: Setting) -> None:
    value = settings.default(setting.key)
    assert type(value) is setting.kind
    assert settings.check(setting.key, value) == value
    assert settings.parse(setting.key, str(value)) == value


@OF_NUMBERS
def test_the_ends_of_a_range_belong_to_it_and_what_is_beyond_is_named(setting: Setting) -> None:
    for end in (setting.minimum, setting.maximum):
        assert settings.check(setting.key, setting.kind(end)) == end
    for beyond in (setting.minimum - 1, setting.maximum * 2):
        with pytest.raises(UsageError) as refusal:
            settings.check(setting.key, setting.kind(beyond))
        assert f"{setting.key} takes {settings.expected(setting.key)}, not " in str(refusal.value)


@OF_NUMBERS
@pytest.mark.parametrize(
    "text", ["", "x", "nan", "inf", "-inf", "1,5", "true", "\ud800", "9" * 5000]
)
def test_text_that_is_no_number_of_that_range_is_refused_by_name(
    setting: Setting, text: str
) -> None:
    with pytest.raises(UsageError, match=f"^{setting.key} takes a"):
        settings.parse(setting.key, text)


@ALL
@pytest.mark.parametrize("value", [True, None, [], {}, b"x"], ids=repr)
def test_values_of_another_type_are_refused(setting: Setting, value: object) -> None:
    if setting.kind is bool and value is True:
        value = 1
    with pytest.raises(UsageError, match=f"^{setting.key} takes"):
        settings.check(setting.key, value)


@given(st.sampled_from(list(SETTINGS)), st.text())
def test_any_text_is_a_value_or_refused_in_one_line(key: str, text: str) -> None:
    try:
        value = settings.parse(key, text)
    except UsageError as refusal:
        assert str(refusal).isprintable()
    else:
        assert settings.check(key, value) == value


def test_durations_may_have_a_unit_and_other_numbers_not() -> None:
    assert settings.parse("backoff_max", "2h") == 7200
    with pytest.raises(UsageError, match="backoff_base takes a number from 1"):
        settings.parse("backoff_base", "2s")
    with pytest.raises(UsageError, match="workers takes a whole number from 1 to 1024"):
        settings.parse("workers", "2.5")


@pytest.mark.parametrize("text", ["\0", "\udcff", "x" * (settings.MAX_HOOK_BYTES + 1)])
def test_a_hook_is_text_that_the_database_can_store(text: str) -> None:
    assert settings.parse("on_dead", "mail me") == "mail me"
    with pytest.raises(UsageError, match="^on_dead takes text of at most 8192 bytes, not '"):
        settings.parse("on_dead", text)
    with pytest.raises(ConfigError, match="^QUEUECTL_ON_DEAD: on_dead takes text"):
        settings.resolve(flags={}, environment={"QUEUECTL_ON_DEAD": text}, stored={}, file={})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("backoff_base", "backoff_base"),
        ("backoff-base", "backoff_base"),
        ("max_retries", "default_max_retries"),
        ("max-retries", "default_max_retries"),
        ("default-max-retries", "default_max_retries"),
    ],
)
def test_spellings(given: str, key: str) -> None:
    assert settings.canonical(given) == key


def test_an_unknown_key_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(NotFoundError, match="'bakoff_base'; did you mean 'backoff_base'"):
        settings.canonical("bakoff_base")


def test_the_nearest_source_wins() -> None:
    origins = []
    flags: dict[str, settings.Value] = {"workers": 5}
    environment, stored = {"QUEUECTL_WORKERS": "6"}, {"workers": "7"}
    file: dict[str, settings.Value] = {"workers": 8}
    for remaining in range(5):
        source = settings.resolve(
            flags=flags if remaining < 1 else {},
            environment=environment if remaining < 2 else {},
            stored=stored if remaining < 3 else {},
            file=file if remaining < 4 else {},
        )["workers"]
        origins.append((source.value, source.origin))
    assert origins == [
        (5, "flag"),
        (6, "environment"),
        (7, "stored"),
        (8, "file"),
        (4, "default"),
    ]


def test_settings_needed_before_the_database_are_not_read_from_it() -> None:
    stored = {"db": "/elsewhere", "log_level": "debug", "log_format": "json"}
    sources = settings.resolve(flags={}, environment={}, stored=stored, file={})
    assert {sources[key].origin for key in stored} == {"default"}


def test_the_databases_variable_has_the_short_name() -> None:
    environment = {"QUEUECTL_DB": "/x/queue.db", "QUEUECTL_DB_PATH": "/y/queue.db"}
    sources = settings.resolve(flags={}, environment=environment, stored={}, file={})
    assert sources["db"] == settings.Source("/x/queue.db", "environment")
    assert settings.variable("db", environment) == "QUEUECTL_DB"
    assert settings.variable("db", {"QUEUECTL_DB_PATH": ""}) == "QUEUECTL_DB_PATH"
    assert settings.variable("workers", environment) is None


@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("QUEUECTL_WORKERS", {"environment": {"QUEUECTL_WORKERS": "0"}}),
        ("config set", {"stored": {"workers": "x"}}),
    ],
)
def test_a_bad_value_is_refused_with_its_place(
    place: str, given: dict[str, dict[str, str]]
) -> None:
    with pytest.raises(ConfigError, match=f"^{place}: workers takes a whole number from 1 to 1024"):
        settings.resolve(**{"flags": {}, "environment": {}, "stored": {}, "file": {}} | given)  # type: ignore[arg-type]


def test_the_record_of_all() -> None:
    sources = settings.resolve(flags={"workers": 9}, environment={}, stored={}, file={})
    assert settings_of(sources) == DEFAULTS._replace(workers=9)


def test_a_conf_file_may_use_the_spellings_but_not_two_for_one() -> None:
    assert settings.check_file({"max-retries": 5}, "x.conf") == {"default_max_retries": 5}
    with pytest.raises(ConfigError, match=r"^x\.conf: default_max_retries is given twice"):
        settings.check_file({"max-retries": 5, "default_max_retries": 4}, "x.conf")
    with pytest.raises(ConfigError, match=r"^x\.conf: unknown setting 'worker'; did you mean"):
        settings.check_file({"worker": 5}, "x.conf")


def test_a_duration_in_a_conf_file_may_be_text() -> None:
    assert settings.check_file({"kill_grace": "1h30m"}, "x.conf") == {"kill_grace": 5400}
    told = r"^x\.conf: kill_grace takes a number of seconds, or text such as .*, not 'soon'"
    with pytest.raises(ConfigError, match=told):
        settings.check_file({"kill_grace": "soon"}, "x.conf")


def test_a_database_in_a_conf_file_does_not_depend_on_the_working_directory() -> None:
    for good in ("", "/a/q.db", "~/q.db", "postgresql://h/q", "postgres://h/q"):
        assert settings.check_file({"db": good}, "x.conf") == {"db": good}
    for bad in ("q.db", "./q.db", "../q.db"):
        told = rf"^x\.conf: db takes an absolute path or \S+, not '{bad}'"
        with pytest.raises(ConfigError, match=told):
            settings.check_file({"db": bad}, "x.conf")
