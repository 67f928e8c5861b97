"""The pages in docs/: their console blocks, their tables of fields, their messages, their links."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.ctl import json_records
from tests.docs import console
from tests.docs.console import PAGES, ROOT
from tests.service import run_python

WITH_BLOCKS = [page for page in PAGES if console.blocks(page)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.stem))
def test_each_command_prints_what_the_page_says(page: Path) -> None:
    with console.session() as shell:
        for step in (step for block in console.blocks(page) for step in block):
            real = console.comparable(shell.run(step.command))
            assert real == console.comparable(step.printed), step.command


def test_the_pages_with_commands() -> None:
    assert {page.stem for page in WITH_BLOCKS} >= {"recipes", "faq", "json", "sql"}


def _keys() -> list[str]:
    """The keys of all records that the commands print."""
    tree = ast.parse(inspect.getsource(json_records))
    literals = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    return [str(key.value) for d in literals for key in d.keys if isinstance(key, ast.Constant)]


@pytest.mark.parametrize("key", dict.fromkeys(_keys()))
def test_the_field_is_explained(key: str) -> None:
    text = (ROOT / "docs/json.md").read_text("utf-8")
    prose = "".join(text.split("```")[::2])
    assert f"`{key}`" in prose


def _messages() -> Iterator[str]:
    """Every text in the code; a value that is put into one is an ellipsis."""
    for path in (ROOT / "queued").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_each_message_of_the_page_is_one_of_the_program() -> None:
    page = (ROOT / "docs/faq.md").read_text("utf-8").partition("\n## Messages\n")[2]
    explained = re.findall(r"^### `(.*)`$", page, re.MULTILINE)
    known = {re.sub("…+", "…", text) for text in _messages()}
    assert len(explained) > 10
    assert set(explained) - known == set()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = run_python("-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        made = tmp_path / "index.html" if page.stem == "index" else tmp_path / page.stem
        assert made.exists(), page
