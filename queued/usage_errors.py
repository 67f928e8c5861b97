"""Explains why a command line does not match its usage text; docopt says only that it does not.

Both programs use it. Nothing here depends on the texts of docopt's exceptions: the command line is
split again by the options that the usage text describes.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from queued.core.suggestions import did_you_mean


class Option(NamedTuple):
    """An option of a usage text: `-n` or empty, `--limit`, and the name of its value or empty."""

    short: str
    long: str
    value: str

    @property
    def form(self) -> str:
        """The long form with its value, as usage lines have it: `--limit N`."""
        return f"{self.long} {self.value}".rstrip()


class TypedOption(NamedTuple):
    """An option as it was typed, the known options that it can mean, and its value or None."""

    name: str
    meant: Sequence[Option]
    value: str | None


class CommandLine(NamedTuple):
    """The words of a command line; `first` is the index of the first argument, or of `--`."""

    options: Sequence[TypedOption]
    arguments: Sequence[str]
    first: int


def usage_lines(usage: str) -> str:
    """Returns the lines of a usage text that show how the command is called."""
    return usage.partition("\n\n")[0]


def split_words(usage: str, argv: Sequence[str]) -> CommandLine:
    """Splits the words after the command into options and arguments, as docopt does."""
    known = options_of(usage)
    options: list[TypedOption] = []
    arguments: list[str] = []
    first, at = len(argv), 0
    while at < len(argv):
        word, following = argv[at], argv[at + 1 : at + 2]
        if word == "--" or not is_option(word):
            first = min(first, at)
        if word == "--":
            arguments += argv[at + 1 :]
            break
        if is_option(word):
            typed = _typed(known, word)
            if _wants_value(typed) and following and following != ["--"]:
                typed = typed._replace(value=following[0])
                at += 1
            options.append(typed)
        else:
            arguments.append(word)
        at += 1
    return CommandLine(options, arguments, first)


def is_option(word: str) -> bool:
    """Returns whether docopt takes a word for an option: it begins with a dash and is no number."""
    return word.startswith("-") and word not in {"-", "--"} and not re.match("-[0-9.]", word)


@cache
def options_of(usage: str) -> Sequence[Option]:
    """Returns the options that a usage text describes: each on a line that begins with it."""
    return [_option(line) for line in usage.splitlines() if line.startswith("  -")]


def _option(line: str) -> Option:
    short, _, form = line.strip().partition("  ")[0].rpartition(", ")
    name, _, value = form.partition(" ")
    return Option(short, name, value)


def _typed(known: Sequence[Option], word: str) -> TypedOption:
    if not word.startswith("--"):
        meant = [option for option in known if option.short == word[:2]]
        takes_value = any(option.value for option in meant)
        return TypedOption(word[:2], meant, word[2:] or None if takes_value else None)
    name, equals, value = word.partition("=")
    exact = [option for option in known if option.long == name]
    meant = exact or [option for option in known if option.long.startswith(name)]
    return TypedOption(name, meant, value if equals else None)


def _wants_value(typed: TypedOption) -> bool:
    return len(typed.meant) == 1 and bool(typed.meant[0].value) and typed.value is None


def explain(usage: str, argv: Sequence[str]) -> str:
    """Returns what is wrong with the words `argv` after a command that has this usage text."""
    line = split_words(usage, argv)
    wrong = _wrong_option(usage, line.options)
    if wrong:
        return wrong
    patterns = usage_lines(usage).removeprefix("Usage:").strip()
    pattern = re.split(r"\n  (?=\S)", patterns)[0].replace("\n", " ")
    without_options = re.sub(r"--[a-z][a-z-]* [A-Z]+", "", pattern)
    names = re.findall(r" ([A-Z]{2,})(\.\.\.)?(?= |$)", without_options)
    if len(line.arguments) > len(names) and not any(dots for _, dots in names):
        return f"unexpected argument {line.arguments[len(names)]!r}"
    missing = [name.removesuffix("S") if dots else name for name, dots in names]
    missing = missing[len(line.arguments) :]
    if missing:
        instead = re.search(r" (--[a-z]+)$", usage_lines(usage))
        wanted = " and ".join(missing) + (f" or {instead[1]}" if instead else "")
        return f"{wanted} {'is' if len(missing) == 1 else 'are'} missing"
    return "these words cannot be combined"


def _wrong_option(usage: str, options: Sequence[TypedOption]) -> str | None:
    names = [option.meant[0].long for option in options if len(option.meant) == 1]
    for name, meant, value in options:
        if not meant:
            known = [option.long.lstrip("-") for option in options_of(usage)]
            hint = did_you_mean(name.lstrip("-"), known)
            if not hint and "COMMAND..." in usage_lines(usage):
                hint = "; if it belongs to the command, put -- before the command"
            return f"unknown option {name}" + hint.replace("mean '", "mean '--")
        if len(meant) > 1:
            return f"{name} may mean {' or '.join(option.long for option in meant)}"
        option = meant[0]
        if option.value and value is None:
            return f"{name} needs a value"
        if not option.value and value is not None:
            return f"{option.long} takes no value"
        repeats = "..." in usage.partition(f"[{option.long} ")[2][:20]
        if names.count(option.long) > 1 and not repeats:
            return f"{option.long} is given twice"
    return None
