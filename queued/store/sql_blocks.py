"""Reads files of named statements; `{name}` in one stands for the text of another."""


class _Filled(dict[str, str]):
    """The texts of blocks by name, each filled with those that it names when it is first used."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, name: str) -> str:
        text = self._texts[name]
        self[name] = text = text.format_map(self) if "{" in text else text
        return text


def read(*paths: str) -> dict[str, str]:
    """Returns the statements by name, without comments and without the closing semicolon.

    A block begins with `-- name --`; every other line that begins with `-- ` is a comment.
    """
    texts: dict[str, str] = {}
    for path in paths:
        texts |= _blocks(path)
    filled = _Filled(texts)
    return {name: filled[name] for name in texts}


def _blocks(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8") as file:
        pieces = ("\n" + file.read()).split("\n-- ")[1:]
    blocks: dict[str, str] = {}
    name = ""
    for piece in pieces:
        line, _, text = piece.partition("\n")
        if line.endswith(" --"):
            name = line[:-3]
            blocks[name] = text
        elif name:
            blocks[name] += f"\n{text}"
    return {name: text.strip().removesuffix(";") for name, text in blocks.items()}
