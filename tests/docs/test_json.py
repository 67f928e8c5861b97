"""docs/json.md gives the meaning of each field of jobs, runs and services."""

import ast
import inspect

import pytest

from queued.ctl import json_records
from tests.docs.console import ROOT


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
