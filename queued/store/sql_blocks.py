"""Reads a file of named statements; `{name}` in one stands for the text of another."""


def read(path: str) -> dict[str, str]:
    """Returns the statements by name, without comments and without the closing semicolon.

    A block begins with `-- name --`; every other line that begins with `-- ` is a comment.
    """
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
    texts = {name: text.strip().removesuffix(";") for name, text in blocks.items()}
    return {name: text.format_map(texts) if "{" in text else text for name, text in texts.items()}
