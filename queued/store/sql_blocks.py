"""Reads a file of named statements; `{name}` in one stands for the text of another."""


def read(path: str) -> dict[str, str]:
    """Returns the statements by name, without comments and without the closing semicolon.

    A block begins with `-- name --`; every other line that begins with `--` is a comment.
    """
    blocks: dict[str, str] = {}
    name = ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("-- ") and line.endswith(" --\n"):
                name = line[3:-4]
                blocks[name] = ""
            elif name and not line.startswith("--"):
                blocks[name] += line
    texts = {name: text.strip().removesuffix(";") for name, text in blocks.items()}
    return {name: text.format_map(texts) for name, text in texts.items()}
