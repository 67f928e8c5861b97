"""The options and arguments of one command line, with typed access to them.

docopt itself is called in `__main__`. Each usage text contains `COMMON`.
"""

import re
from collections.abc import Mapping, Sequence

from queued.core.errors import UsageError
from queued.core.times import parse_duration
from queued.ctl.render import shell_line
from queued.usage_errors import Option, is_option, options_of, split_words, usage_lines

COMMON = """
Common options:
  --json               print the result as JSON
  --db WHERE           the database; else $QUEUECTL_DB, else the conf file's
  --config PATH        the conf file; else $QUEUECTL_CONF
  -h, --help           show this help (exit codes: queuectl --help)
  -V, --version        show the version
"""

WATCH_OPTION = """\
  -w, --watch          on a terminal: show it again after each change
"""

COLOR_OPTION = """\
  --color WHEN         auto (default: on a terminal, unless $NO_COLOR is set),
                       always or never
"""

LIST_OPTIONS = (
    """\
  -n, --limit N        only the first N
  -a, --all            all jobs that match, on a terminal as in a pipe
  --reverse            newest first
  --after JOB          begin after this job, to read a long list in parts
  --sort KEY           enqueued (default), updated, due, started, priority or
                       fails
  -o, --output FORMAT  json, jsonl, tsv, tsv,COLUMNS, or columns: id,state,
                       queue,priority,requires,key,unique_key,labels,note,by,
                       fails,runs,time,created,updated,next_run,started,ended,
                       ran,exit,outcome,command,why
  --no-heading         leave the titles of the columns out
  --quiet              print ids only
"""
    + COLOR_OPTION
    + WATCH_OPTION
    + """\
                       with -o jsonl, also in a pipe: print each job again after
                       each change of it
"""
)

_MAX_INTEGER = 2**53


class BadArgumentsError(UsageError):
    """The words do not fit the command; `usage` is the lines that show what does."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Arguments:
    """The words of a command line, as docopt parsed them. A name that was not given is empty."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given

    def given(self) -> set[str]:
        """Returns the names of the options that were given."""
        return {
            name
            for name, value in self._given.items()
            if name.startswith("--") and name != "--" and value not in (None, False, [])
        }

    def flag(self, name: str) -> bool:
        """Returns whether an option without a value was given."""
        return bool(self._given.get(name))

    def text(self, name: str) -> str | None:
        """Returns the value of an option, or a single argument; None if it was not given."""
        value = self._given.get(name)
        return None if value is None else str(value)

    def line(self, name: str) -> str | None:
        """Returns an option that is a line of text for people. Raises UsageError."""
        from queued.core.field_checks import note

        text = self.text(name)
        return None if text is None else note(name, text)

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns the values of an option or argument that may be repeated."""
        values = self._given.get(name)
        return tuple(values) if isinstance(values, list) else ()

    def words(self, name: str) -> tuple[str, ...]:
        """Returns the value or values of an option or argument; none if it was not given."""
        value = self._given.get(name)
        return self.texts(name) if value is None or isinstance(value, list) else (str(value),)

    def integer(self, name: str, minimum: int, maximum: int = _MAX_INTEGER) -> int | None:
        """Returns a whole number. Raises UsageError that names the range."""
        text = self.text(name)
        if text is None:
            return None
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else minimum - 1
        if not minimum <= value <= maximum:
            span = f"from {minimum}" if maximum == _MAX_INTEGER else f"from {minimum} to {maximum}"
            msg = f"{name} takes a whole number {span}, not {text!r}"
            raise UsageError(msg)
        return value

    def seconds(self, name: str) -> float | None:
        """Returns a duration in seconds. Raises UsageError."""
        text = self.text(name)
        try:
            return None if text is None else parse_duration(text)
        except UsageError as error:
            msg = f"{name}: {error}"
            raise UsageError(msg) from None


def relevant_usage(usage: str, argv: Sequence[str]) -> str:
    """Returns the usage lines and the forms of the options, without what `argv` cannot mean.

    The time that docopt takes grows with the square of the number of options in the text.
    """
    lines, forms = usage_lines(usage), []
    typed = [word.partition("=")[0] for word in argv if is_option(word)]
    for option in options_of(usage):
        if any(_may_mean(word, option) for word in typed):
            forms.append(f"  {option.short} {option.form}")
        else:
            lines = lines.replace(f" [{option.form}]...", "")
    return "\n".join([lines, "", *forms])


def _may_mean(word: str, option: Option) -> bool:
    """Returns whether a word may be the option, or several short ones with it."""
    return option.long.startswith(word) or (
        option.short != "" and word[1] != "-" and option.short[1] in word
    )


def mark_command(usage: str, argv: Sequence[str]) -> list[str]:
    """Returns the words of `enqueue` with `--` before the command that is to be queued.

    JSON and `-` are left as they are. Raises UsageError if a word of the command could also be an
    option of queuectl, because either reading would surprise half of the users.
    """
    at = split_words(usage, argv).first
    options, command = list(argv[:at]), list(argv[at:])
    if not command or command[0] in {"-", "--"} or command[0].lstrip().startswith(("{", "[{")):
        return list(argv)
    before_dashes = command[: command.index("--")] if "--" in command else command
    for option in split_words(usage, before_dashes).options:
        if option.meant:
            marked = shell_line(["queuectl", "enqueue", *options, "--", *command])
            msg = f"{option.name} may be an option of queuectl or of the command;"
            msg += f" for the command, put -- before it:  {marked}"
            raise UsageError(msg)
    return [*options, "--", *command]
