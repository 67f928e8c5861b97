"""Loads the named statements of `queries.sql`; `{name}` in one stands for the text of another."""

import os
import re

_FILE = os.path.join(os.path.dirname(__file__), "queries.sql")
_BLOCK = re.compile(r"^-- (\w+) --\n", re.MULTILINE)
_INCLUDE = re.compile(r"\{(\w+)\}")


def load() -> dict[str, str]:
    """Returns the statements by name, without comments and without the closing semicolon."""
    with open(_FILE, encoding="utf-8") as file:
        _, *parts = _BLOCK.split(file.read())
    blocks = {
        name: _without_comments(text) for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {name: _INCLUDE.sub(lambda m: blocks[m[1]], text) for name, text in blocks.items()}


def _without_comments(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if not line.startswith("--")]
    return "\n".join(lines).removesuffix(";")
