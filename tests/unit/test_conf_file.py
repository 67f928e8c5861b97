"""The conf file, the code and the README's table of settings say the same."""

import re
import tomllib
from pathlib import Path

import pytest

from queued.core import settings
from tests.default_settings import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "etc" / "queuectl.conf"
README = ROOT / "README.md"
SETTING = re.compile(r"^# (?=\w+ = )", re.MULTILINE)


def test_shows_every_setting_in_order_at_its_default() -> None:
    shown = tomllib.loads(SETTING.sub("", CONF.read_text("utf-8")))
    assert list(shown) == list(settings.SETTINGS)
    assert shown == DEFAULTS._asdict()
    assert settings.check_file(shown, str(CONF)) == shown


def test_sets_nothing_as_it_is_delivered() -> None:
    assert tomllib.loads(CONF.read_text("utf-8")) == {}


def test_explains_each_setting_above_it() -> None:
    paragraphs = CONF.read_text("utf-8").strip().split("\n\n")[1:]
    assert len(paragraphs) == len(settings.SETTINGS)
    for paragraph, key in zip(paragraphs, settings.SETTINGS, strict=True):
        *explanation, line = paragraph.splitlines()
        assert line.startswith(f"# {key} = ")
        assert 1 <= len(explanation) <= 3


@pytest.mark.parametrize("setting", settings.SETTINGS.values(), ids=lambda s: s.key)
def test_says_what_config_set_cannot_hold(setting: settings.Setting) -> None:
    paragraph = next(
        text for text in CONF.read_text("utf-8").split("\n\n") if f"\n# {setting.key} = " in text
    )
    flat = " ".join(paragraph.replace("#", " ").split())
    assert ("Not for `config set`." in flat) is not setting.stored


def _rows() -> dict[str, str]:
    """The README's table: setting and default of each row, as they are written."""
    text = README.read_text("utf-8")
    table = text.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]
    cells = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    return {key.strip(" `"): default.strip(" `") for key, default in cells}


def _written(value: settings.Value) -> set[str]:
    if isinstance(value, bool):
        return {str(value).lower()}
    if isinstance(value, str):
        return {value, f'"{value}"'}
    return {str(value), f"{value:g}", f"{value:.12g}"}


def test_the_readme_has_the_same_table() -> None:
    rows = _rows()
    assert list(rows) == list(settings.SETTINGS)
    for key, shown in rows.items():
        assert shown in _written(settings.default(key)), key
