"""Reads a file of named statements; `{name}` in one stands for the text of another."""

import re

_BLOCK = re.compile(r"^-- (\w+) --\n", re.MULTILINE)
_INCLUDE = re.compile(r"\{(\w+)\}")


def read(path: str) -> dict[str, str]:
    """Returns the statements by name, without comments and without the closing semicolon."""
    with open(path, encoding="utf-8") as file:
        _, *parts = _BLOCK.split(file.read())
    blocks = {
        name: _without_comments(text) for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {name: _INCLUDE.sub(lambda m: blocks[m[1]], text) for name, text in blocks.items()}


def _without_comments(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if not line.startswith("--")]
    return "\n".join(lines).removesuffix(";")
