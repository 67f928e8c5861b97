"""The parts of a usage text: how the command is called, what it does, and its options.

A usage text is made of blocks with an empty line between them. A block whose first line ends with
a colon and whose other lines are indented is a section, as `Options:`; others are prose.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """A line of a section: a term and its meaning, which is empty if the line is one text."""

    term: str
    meaning: str


class Section(NamedTuple):
    """A block of entries; `title` is without its colon, and empty if the block has none."""

    title: str
    entries: tuple[Entry, ...]
    text: str  # as it stands in the usage text, without its indentation


class Option(NamedTuple):
    """An option with all its spellings, and the name of its value (empty for a flag)."""

    names: tuple[str, ...]
    value: str
    meaning: str


class UsageText(NamedTuple):
    """A whole usage text."""

    synopsis: tuple[str, ...]  # one text for each way to call the command
    blocks: tuple[str | Section, ...]  # prose and sections, in the order of the text

    @property
    def summary(self) -> str:
        """The first sentence of the prose, with a small letter first and no full stop."""
        prose = next(block for block in self.blocks if isinstance(block, str))
        sentence = re.split(r"[.:;](?:\s|$)", prose, maxsplit=1)[0]
        return sentence[:1].lower() + sentence[1:]

    @property
    def options(self) -> tuple[Option, ...]:
        """The options of all sections."""
        return tuple(
            _option(entry)
            for block in self.blocks
            if isinstance(block, Section)
            for entry in block.entries
            if entry.term.startswith("-")
        )


def parse(text: str) -> UsageText:
    """The parts of `text`. Raises StopIteration if it says nowhere how it is called."""
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", text) if block.strip()]
    usage = next(block for block in blocks if block.startswith("Usage:"))
    others = (_block(block) for block in blocks if block is not usage)
    return UsageText(tuple(_calls(usage)), tuple(others))


def _calls(block: str) -> Iterator[str]:
    """The ways to call the program; a line that does not begin with its name goes on with one."""
    lines = [line.strip() for line in block.removeprefix("Usage:").splitlines() if line.strip()]
    program, call = lines[0].split()[0], ""
    for line in lines:
        if call and line.split()[0] == program:
            yield call
            call = line
        else:
            call = f"{call} {line}".strip()
    yield call


def _block(block: str) -> str | Section:
    head, *rest = block.splitlines()
    if head.startswith(" "):
        return _section("", [head, *rest])
    if head.endswith(":") and rest and all(line.startswith("  ") for line in rest):
        return _section(head[:-1], rest)
    return " ".join(line.strip() for line in block.splitlines())


def _section(title: str, lines: list[str]) -> Section:
    text = "\n".join(line.removeprefix("  ") for line in lines)
    return Section(title, tuple(_entries(text.splitlines())), text)


def _entries(lines: list[str]) -> Iterator[Entry]:
    """The entries; an indented line goes on with the meaning before it."""
    entry: Entry | None = None
    for line in lines:
        if line.startswith(" ") and entry:
            entry = Entry(entry.term, f"{entry.meaning} {line.strip()}".strip())
            continue
        if entry:
            yield entry
        term, _, meaning = re.sub(r" {2,}", "  ", line.strip()).partition("  ")
        entry = Entry(term, meaning)
    if entry:
        yield entry


def _option(entry: Entry) -> Option:
    spellings = [part.strip() for part in entry.term.split(", ")]
    names = tuple(re.split(r"[ =]", spelling)[0] for spelling in spellings)
    value = next(
        (words[1] for spelling in spellings if len(words := re.split(r"[ =]", spelling)) > 1), ""
    )
    return Option(names, value, entry.meaning)
