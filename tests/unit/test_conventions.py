"""The house rules that no linter holds."""

import ast
import importlib
import re
import statistics
import tomllib
from pathlib import Path

import pytest

import queued
from queued.service.log import EVENTS

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "queued").rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text))


def _lengths(path: Path) -> list[int]:
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


def test_functions_are_short() -> None:
    lengths = [length for path in MODULES for length in _lengths(path)]
    assert statistics.median(lengths) <= 8
    assert statistics.quantiles(lengths, n=10)[-1] <= 25


def test_nothing_is_left_to_do() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    texts = [*MODULES, *(ROOT / "queued").rglob("*.sql"), *(ROOT / "tests").rglob("*.py")]
    left = [_name(path) for path in texts for word in words if word in path.read_text("utf-8")]
    assert left == []


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == queued.__version__
    assert f"## [{queued.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_programs_exist() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_every_package_directory_has_an_init_file() -> None:
    # A directory without __init__.py is left out of the wheel without a word.
    packages = {path.parent for path in MODULES}
    assert [_name(path) for path in packages if not (path / "__init__.py").exists()] == []


def test_every_event_is_listed_and_every_listed_one_is_logged() -> None:
    words = {
        node.value
        for path in MODULES
        if path.parent.name == "service"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    nouns = {event.partition(".")[0] for event in EVENTS}
    used = {word for word in words if re.fullmatch(rf"({'|'.join(nouns)})\.[a-z_]+", word)}
    assert used == set(EVENTS)
    log = ROOT / "queued" / "service" / "log.py"
    others = [path.read_text("utf-8") for path in MODULES if path != log]
    unused = [event for event in EVENTS if not any(f'"{event}"' in text for text in others)]
    assert unused == ["log.dropped"], "the log itself logs this event"
