"""Which settings are in force when a stored row or the conf file changes, or is wrong."""

from pathlib import Path

import pytest

from queued.core.errors import ConfigError
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.live_settings import LiveSettings, SettingsOrigin
from queued.service.log import LogOutput
from tests.default_settings import DEFAULTS

_LOG = LogOutput("error", "json").log()


def live(
    stored: dict[str, str], *, conf: Path | None = None, inherited: Settings = DEFAULTS
) -> LiveSettings:
    origin = SettingsOrigin({}, {}, None if conf is None else str(conf), {})
    return LiveSettings(origin, inherited, stored, _LOG)


def test_flags_and_variables_override_what_can_be_stored() -> None:
    environment = {"QUEUECTL_KILL_GRACE": "5", "QUEUECTL_WORKERS": "3", "QUEUECTL_DB": "/q.db"}
    origin = SettingsOrigin({"workers": 2, "log_level": "debug"}, environment, None, {})
    assert origin.overrides() == {"workers": "--workers", "kill_grace": "QUEUECTL_KILL_GRACE"}


def test_a_stored_row_is_applied() -> None:
    found = live({"workers": "8"})
    assert found.settings.workers == 8
    assert found.apply({"workers": "3"})
    assert found.settings.workers == 3
    assert not found.apply({"workers": "3"})
    assert found.apply({})
    assert found.settings == DEFAULTS


def test_one_bad_row_is_refused_and_the_good_ones_hold_in_a_new_dispatcher() -> None:
    found = live({"workers": "8", "backoff_base": "nonsense"})
    assert found.settings == DEFAULTS._replace(workers=8)


def test_the_value_before_a_bad_row_stays_also_in_a_new_dispatcher() -> None:
    found = live({"workers": "8", "kill_grace": "3"})
    found.apply({"workers": "none", "kill_grace": "4"})
    assert (found.settings.workers, found.settings.kill_grace) == (8, 4.0)
    after = live({"workers": "none", "kill_grace": "4"}, inherited=found.settings)
    assert after.settings == found.settings


def test_a_bad_row_is_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    found = live({"workers": "none"})
    found.apply({"workers": "none", "kill_grace": "4"})
    assert capfd.readouterr().out.count("settings.refused") == 1
    found.apply({"workers": "0"})
    assert capfd.readouterr().out.count("settings.refused") == 1


def test_a_reload_applies_the_file_below_the_rows(tmp_path: Path) -> None:
    conf = tmp_path / "queuectl.conf"
    conf.write_text("workers = 2\nkill_grace = 2\n")
    found = live({"workers": "8"}, conf=conf)
    found.reload(lambda _: None)
    assert (found.settings.workers, found.settings.kill_grace) == (8, 2.0)
    found.apply({})
    assert found.settings.workers == 2
    conf.write_text("")
    found.reload(lambda _: None)
    assert found.settings == DEFAULTS


def test_a_refused_reload_changes_nothing(tmp_path: Path) -> None:
    conf = tmp_path / "queuectl.conf"
    conf.write_text("workers = 2\n")
    found = live({}, conf=conf)
    found.reload(lambda _: None)
    before = (found.settings, found.origin)
    conf.write_text("workers = 3\nkill_grace = -1\n")
    with pytest.raises(ConfigError, match="kill_grace"):
        found.reload(lambda _: None)
    assert (found.settings, found.origin) == before
    found.apply({})
    assert found.settings.workers == 2
