"""What the user typed: typed access to what docopt made of it, and in words what was wrong with it.

docopt itself is called in `__main__`. Each usage text ends with `COMMON`.
"""

import re
from collections.abc import Iterable, Mapping

from queued.core.errors import UsageError
from queued.core.spelling import nearest
from queued.core.times import parse_duration

COMMON = """\
  --json               print the result as JSON
  --db PATH            the database (else QUEUECTL_DB, else the conf file's)
  --config PATH        the conf file (else QUEUECTL_CONF)
  -h, --help           show this text
  --version            show the version
"""

_MOST = 2**53


class BadArgumentsError(UsageError):
    """The words do not fit the command; `usage` are the lines that say what does."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Arguments:
    """The options and words of one command line. A name that was not given is empty."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given

    def given(self) -> set[str]:
        """The options that were given, whatever their value."""
        return {
            name
            for name, value in self._given.items()
            if name.startswith("--") and name != "--" and value not in (None, False, [])
        }

    def flag(self, name: str) -> bool:
        """Whether an option without a value was given."""
        return bool(self._given.get(name))

    def text(self, name: str) -> str | None:
        """The value of an option, or a single word."""
        value = self._given.get(name)
        return None if value is None else str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of what may be repeated."""
        values = self._given.get(name)
        return tuple(values) if isinstance(values, list) else ()

    def whole(self, name: str, minimum: int, maximum: int = _MOST) -> int | None:
        """A whole number in a range. Raises UsageError that names both."""
        text = self.text(name)
        if text is None:
            return None
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else minimum - 1
        if not minimum <= value <= maximum:
            span = f"from {minimum}" if maximum == _MOST else f"from {minimum} to {maximum}"
            msg = f"{name} takes a whole number {span}, not {text!r}"
            raise UsageError(msg)
        return value

    def seconds(self, name: str) -> float | None:
        """A duration. Raises UsageError."""
        text = self.text(name)
        try:
            return None if text is None else parse_duration(text)
        except UsageError as error:
            msg = f"{name}: {error}"
            raise UsageError(msg) from None


def usage_lines(usage: str) -> str:
    """The lines of a usage text that show how the command is called."""
    return usage.partition("\n\n")[0]


def relevant(usage: str, argv: Iterable[str]) -> str:
    """The usage text less the options that `argv` cannot mean.

    docopt takes a time that grows with the square of the options that it reads.
    """
    head, *blocks = usage.split("\n  -")  # each option begins so, less its first dash
    lines = usage_lines(usage)
    typed = tuple(word.partition("=")[0][1:] for word in argv if word[:1] == "-" != word)
    kept = [
        block
        for block in blocks
        for name in [block.split(maxsplit=1)[0]]
        if f"[-{name} " in lines or name.startswith(typed)
    ]
    return "\n  -".join([head, *kept])


def explain(complaint: str, usage: str, argv: Iterable[str]) -> str:
    """What is wrong, in words, where docopt said `complaint` of `argv`."""
    needs = re.match(r"(\S+) requires argument", complaint)
    if needs:
        return f"{needs[1]} needs a value"
    needless = re.match(r"(\S+) must not have an argument", complaint)
    if needless:
        return f"{needless[1]} takes no value"
    if misused := _misused_option(usage, argv):
        return misused
    surplus = re.findall(r"Argument\(None, (.*?)\)(?=[],])", complaint)
    commands = usage_lines(usage).removeprefix("Usage:").split()[1:3]
    if surplus and surplus[0].strip("'") not in commands:
        return f"unexpected argument {surplus[0]}"
    exclusive = re.search(r"Option\(.*?'(--.*?)'", complaint)
    return f"{exclusive[1]} does not go with the others" if exclusive else "a word is missing"


def _misused_option(usage: str, argv: Iterable[str]) -> str | None:
    known = sorted(set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage)))
    typed = [
        word.partition("=")[0] for word in argv if word.startswith("-") and not _is_value(word)
    ]
    for name in typed:
        meant = [option for option in known if option.startswith(name)]
        if not meant:
            hint = nearest(name.lstrip("-"), [option.lstrip("-") for option in known])
            return f"unknown option {name}" + hint.replace("mean '", "mean '--")
        if len(meant) > 1 and name not in known:
            return f"{name} may mean {' or '.join(meant)}"
        if typed.count(name) > 1 and "..." not in usage.partition(f"[{name} ")[2][:20]:
            return f"{name} is given twice"
    return None


def _is_value(word: str) -> bool:
    return re.fullmatch(r"-([0-9.].*)?", word) is not None
