"""The man pages: groff and man find nothing to warn of, and every option is in its page."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

import queued.__main__ as service
from queued.core.errors import EXIT_MEANINGS
from queued.core.settings import SETTINGS
from queued.ctl.command_line import COMMANDS, TOP, usage_of
from queued.pages import man_pages

PAGES = man_pages.pages()
USAGES = {
    "queued.8": service.USAGE,
    "queuectl.1": TOP,
    **{f"queuectl-{words.replace(' ', '-')}.1": usage_of(words) for words in COMMANDS},
}


@cache
def _shown(name: str) -> str:
    """A page as a reader sees it, with single spaces between its words."""
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rHY=0"],
        input=PAGES[name],
        capture_output=True,
        text=True,
        check=True,
    )
    return " ".join(done.stdout.split())


def _needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")


def test_there_is_a_page_for_each_program_each_command_and_the_conf_file() -> None:
    assert set(PAGES) == {*USAGES, "queuectl.conf.5"}


def test_man_has_nothing_to_warn_of(tmp_path: Path) -> None:
    _needs("man")
    man_pages.write(str(tmp_path))
    found = sorted(tmp_path.glob("man?/*"))
    assert [path.name for path in found] == sorted(PAGES)
    for path in found:
        done = subprocess.run(
            ["man", "--warnings", "-l", path], capture_output=True, text=True, check=True
        )
        assert done.stderr == "", path.name
        assert "SEE ALSO" in done.stdout


@pytest.mark.parametrize("name", USAGES)
def test_every_word_of_a_usage_text_is_in_its_page(name: str) -> None:
    _needs("groff")
    shown = _shown(name)
    usage = USAGES[name].replace("`", "").replace("Usage:", "")
    options = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", usage))
    missing = {word for word in (*options, *usage.split()) if word.strip(":") not in shown}
    assert {word for word in missing if word.strip(":").upper() not in shown} == set()


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_in_the_page_of_the_conf_file(key: str) -> None:
    _needs("groff")
    shown = _shown("queuectl.conf.5")
    assert f" {key} {SETTINGS[key].meaning}." in shown
    assert f"QUEUECTL_{key.upper()}." in shown


def test_the_programs_pages_have_all_exit_codes() -> None:
    _needs("groff")
    for name in ("queued.8", "queuectl.1"):
        shown = _shown(name)
        assert all(f" {code.value} {text}" in shown for code, text in EXIT_MEANINGS.items())
