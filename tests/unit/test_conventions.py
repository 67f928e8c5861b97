"""The house rules that no linter holds."""

import ast
import importlib
import statistics
import tomllib
from collections.abc import Iterable, Iterator
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


def _logged(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yields the names of events that are the first argument of a call such as `log.info(…)`."""
    for node in nodes:
        match node:
            case ast.Call(
                func=ast.Attribute(attr="debug" | "info" | "warning" | "error" | "critical"),
                args=[ast.Constant(value=str(event)), *_],
            ) if "." in event:
                yield event


def test_every_event_is_listed_and_every_listed_one_is_logged() -> None:
    log = ROOT / "queued" / "service" / "log.py"
    others = [ast.parse(path.read_text("utf-8")) for path in MODULES if path != log]
    nodes = [node for tree in others for node in ast.walk(tree)]
    words = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert set(_logged(nodes)) - set(EVENTS) == set()
    assert set(EVENTS) - words == {"log.dropped"}, "the log itself logs this event"
