"""docs/architecture.md names the files and functions that exist.

`python -m tests.unit.test_architecture` writes its table of files anew.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"
PAGE = DOCUMENT.read_text(encoding="utf-8")
PACKAGE = ROOT / "queued"
BEFORE, AFTER = "<!-- files -->\n", "<!-- /files -->"
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", PAGE.split(BEFORE)[0])))


def _file(name: str) -> Path:
    inside = PACKAGE / "service" / name
    return inside if inside.exists() else PACKAGE / name


def _names(path: Path) -> set[str]:
    """Functions, classes and methods, as `f`, `C` and `C.m`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                inner = [part for part in node.body if isinstance(part, ast.FunctionDef)]
                found |= {f"{node.name}.{part.name}" for part in inner}
    return found


def test_the_page_has_references() -> None:
    assert len(REFERENCES) > 30


@pytest.mark.parametrize(("file", "name"), REFERENCES)
def test_a_reference_names_what_exists(file: str, name: str) -> None:
    assert not name or name in _names(_file(file))


def _summary(path: Path) -> str:
    """The first line of the module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def _table() -> str:
    modules = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    rows = [f"| `{path.relative_to(PACKAGE)}` | {_summary(path)} |\n" for path in modules]
    return "".join(["| file | content |\n", "|---|---|\n", *rows])


def test_the_table_of_files_is_that_of_the_docstrings() -> None:
    _, _, rest = PAGE.partition(BEFORE)
    table, _, _ = rest.partition(AFTER)
    assert table == _table(), "run: make architecture"


def main() -> None:
    """Writes the table of files anew."""
    head, _, rest = PAGE.partition(BEFORE)
    _, _, tail = rest.partition(AFTER)
    DOCUMENT.write_text(head + BEFORE + _table() + AFTER + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
