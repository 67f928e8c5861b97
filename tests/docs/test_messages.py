"""The messages that docs/faq.md explains are messages of the program."""

import ast
import re
from collections.abc import Iterator

from tests.docs.console import ROOT


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
