"""What the user typed: typed access to what docopt made of it, and in words what was wrong with it.

docopt itself is called in `__main__`. Each usage text ends with `COMMON`.
"""

import re
from collections.abc import Iterable, Mapping

from queued.core.errors import UsageError
from queued.core.times import parse_duration
from queued.usage_errors import usage_lines

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
