"""Makes the completions for bash, zsh and fish from the usage texts.

`python -m queued.pages.completions bash|zsh|fish` prints the script for a shell. Job ids, queues
and stored settings come from the database at the time of completion, by `queuectl complete`.
"""

import re
import sys
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

import queued.__main__ as service
from queued.core.model import OUTCOMES, Label
from queued.core.settings import SETTINGS
from queued.ctl.command_line import COMMANDS, usage_of
from queued.ctl.completion import SHELLS as SHELL_NAMES
from queued.ctl.job_columns import COLUMNS
from queued.pages import usage_text
from queued.pages.usage_text import Option, UsageText

# The placeholders of usage texts that a shell can complete, each with the kind of its words: a kind
# of `queuectl complete`, a key of LISTS, or `files`, `directories` or `commands`.
KIND_OF_PLACEHOLDER = {
    "JOB": "jobs",
    "JOBS": "jobs",
    "QUEUE": "queues",
    "QUEUES": "queues",
    "SCHEDULE": "schedules",
    "SCHEDULES": "schedules",
    "KEY": "settings",
    "STATE": "states",
    "STATES": "states",
    "OUTCOMES": "outcomes",
    "FILE": "files",
    "PATH": "files",
    "WHERE": "files",
    "DIR": "directories",
    "WORDS": "commands",
    "LEVEL": "levels",
    "FORMAT": "formats",
    "SHELL": "shells",
}
# The narrower kind that replaces a kind in a command that takes only some of its words.
NARROWER_KINDS = {
    ("cancel", "jobs"): "live-jobs",
    ("hold", "jobs"): "live-jobs",
    ("release", "jobs"): "live-jobs",
    ("run-now", "jobs"): "live-jobs",
    ("dlq retry", "jobs"): "dead-jobs",
    ("dlq purge", "jobs"): "dead-jobs",
    ("config unset", "settings"): "stored",
    ("list", "formats"): "list-formats",
    ("dlq list", "formats"): "list-formats",
}
LISTS = {
    "states": tuple(Label),
    "outcomes": OUTCOMES,
    "settings": tuple(SETTINGS),
    "levels": SETTINGS["log_level"].choices,
    "formats": SETTINGS["log_format"].choices,
    "shells": SHELL_NAMES,
    "list-formats": ("json", "jsonl", "tsv", *COLUMNS),
}
_PLACEHOLDER = re.compile(r"[A-Z]+(\.\.\.)?")


class Command(NamedTuple):
    """A command as completions need it; `words` name it and are empty for `queued`."""

    words: str
    summary: str
    options: tuple[Option, ...]
    arguments: tuple[tuple[str, bool], ...]  # the kind of each argument, and whether it is repeated

    def kind(self, option: Option) -> str:
        """The kind of an option's value; empty if a shell cannot complete it."""
        return _kind(self.words, option.value)


def commands() -> list[Command]:
    """All commands of `queuectl`."""
    return [_command(words, usage_text.parse(usage_of(words))) for words in COMMANDS]


def service_program() -> Command:
    """The program `queued`."""
    return _command("", usage_text.parse(service.USAGE))


def groups() -> list[str]:
    """The first words of commands that have two."""
    return list(dict.fromkeys(words.split()[0] for words in COMMANDS if " " in words))


def _command(words: str, usage: UsageText) -> Command:
    repeated_by_name: dict[str, bool] = {}
    for call in usage.synopsis:
        for name, repeated in _arguments(call):
            repeated_by_name.setdefault(name, repeated)
    arguments = tuple((_kind(words, name), repeated) for name, repeated in repeated_by_name.items())
    return Command(words, usage.summary.replace("`", ""), usage.options, arguments)


def _arguments(call: str) -> Iterator[tuple[str, bool]]:
    """Yields the placeholders of a call that are not the value of an option."""
    before = ""
    for word in call.split():
        bare = word.strip("[]()")
        if _PLACEHOLDER.fullmatch(bare) and (before == "--" or not before.startswith("-")):
            yield bare.removesuffix("..."), bare.endswith("...")
        before = bare


def _kind(words: str, placeholder: str) -> str:
    kind = KIND_OF_PLACEHOLDER.get(placeholder.strip("[]<>."), "")
    return NARROWER_KINDS.get((words, kind), kind)


# bash


def bash() -> str:
    """The script for bash: tables of what each command takes, and the function that reads them."""
    everything = [*commands(), service_program()]
    values = sorted({name for command in everything for name in _with_value(command)})
    first_words = _first_words({command.words: command for command in commands()})
    lines = [
        f"_queuectl_commands='{' '.join(first_words)}'",
        f"_queuectl_with_value=' {' '.join(values)} '",
        *_table("groups", ((group, " ".join(_verbs(group))) for group in groups())),
        *_table("options", ((c.words or "queued", _names(c)) for c in everything)),
        *_table("values", ((c.words or "queued", _bash_values(c)) for c in everything)),
        *_table("arguments", ((c.words, _bash_arguments(c)) for c in commands())),
        *_table("lists", ((kind, " ".join(words)) for kind, words in LISTS.items())),
    ]
    return _template("bash", "\n".join(lines))


def _table(name: str, rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield f"declare -gA _queuectl_{name}=("
    yield from (f"    ['{key}']='{text}'" for key, text in rows)
    yield ")"


def _with_value(command: Command) -> list[str]:
    return [name for option in command.options if option.value for name in option.names]


def _names(command: Command) -> str:
    return " ".join(name for option in command.options for name in option.names)


def _bash_values(command: Command) -> str:
    return " ".join(
        f"{name}={command.kind(option) or 'none'}"
        for option in command.options
        if option.value
        for name in option.names
    )


def _bash_arguments(command: Command) -> str:
    return " ".join(f"{kind or 'none'}{'...' * repeated}" for kind, repeated in command.arguments)


def _verbs(group: str) -> list[str]:
    return [words.split()[1] for words in COMMANDS if words.startswith(f"{group} ")]


# zsh


def zsh() -> str:
    """The script for zsh: the arguments of each command as `_arguments` takes them."""
    found = {command.words: command for command in commands()}
    lines = [*_zsh_describe("top", _first_words(found))]
    for group in groups():
        verbs = {verb: found[f"{group} {verb}"].summary for verb in _verbs(group)}
        lines += _zsh_describe(group, verbs)
    lines.append("_queuectl_command() {\n  case $1 in")
    lines += [_zsh_case(f"'{command.words}'", command) for command in found.values()]
    lines += [_zsh_case("queued", service_program()), "  esac\n}"]
    lines += [f'_queuectl_{kind}() compadd "$@" -- {" ".join(ws)}' for kind, ws in LISTS.items()]
    return _template("zsh", "\n".join(lines))


def _first_words(found: dict[str, Command]) -> dict[str, str]:
    """The first words of all commands, with what they do."""
    own = {words: command.summary for words, command in found.items() if " " not in words}
    several = {group: ", ".join(_verbs(group)) for group in groups()}
    return {**own, **several, "help": "shows how a command is used"}


def _zsh_describe(name: str, words: dict[str, str]) -> Iterator[str]:
    yield f"_queuectl_in_{name}() {{\n  local -a found=("
    yield from (f"    {_quoted(f'{word}:{text}')}" for word, text in words.items())
    yield "  )\n  _describe command found\n}"


def _zsh_case(pattern: str, command: Command) -> str:
    specs = [_quoted(spec) for option in command.options for spec in _zsh_option(command, option)]
    for number, (kind, repeated) in enumerate(command.arguments, 1):
        position = "*" if repeated else str(number)
        specs.append(_quoted(f"{position}:{kind or 'word'}:{_zsh_action(kind)}"))
    return f"    {pattern})\n      _arguments -s -S : \\\n        " + (
        " \\\n        ".join(specs) + " ;;"
    )


def _zsh_option(command: Command, option: Option) -> Iterator[str]:
    meaning = re.sub(r"([\[\]:\\])", r"\\\1", option.meaning.replace("`", ""))
    several = "*" if "repeated" in option.meaning else ""
    for name in option.names:
        form = f"{name}=" if option.value and name.startswith("--") else name
        value = f":{option.value}:{_zsh_action(command.kind(option))}" if option.value else ""
        yield f"{several}{form}[{meaning}]{value}"


def _zsh_action(kind: str) -> str:
    files = {"": " ", "files": "_files", "directories": "_files -/", "commands": "_queuectl_line"}
    action = f"_queuectl_{kind}" if kind in LISTS else f"_queuectl_stored_words {kind}"
    return files.get(kind, action)


def _quoted(text: str) -> str:
    """A text as one word of a shell, in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


# fish


def fish() -> str:
    """The script for fish: a line for each option and each argument."""
    found = {command.words: command for command in commands()}
    lines = [
        f"complete -c queuectl -n '__queuectl_at \"\"' -a {word} -d {_fish(text)}"
        for word, text in _first_words(found).items()
    ]
    for group in groups():
        lines += [
            f"complete -c queuectl -n '__queuectl_at {group}' -a {verb} "
            f"-d {_fish(found[f'{group} {verb}'].summary)}"
            for verb in _verbs(group)
        ]
    for command in found.values():
        condition = f"-c queuectl -n '__queuectl_at \"{command.words}\"'"
        lines += _fish_options(command, condition)
        for kind in dict.fromkeys(kind for kind, _ in command.arguments if kind):
            lines.append(f"complete {condition} {_fish_action(kind)}")
    lines += _fish_options(service_program(), "-c queued")
    taken = {name for command in found.values() for name in _with_value(command)}
    head = [
        f"set -g __queuectl_with_value {' '.join(sorted(taken))}",
        f"set -g __queuectl_groups {' '.join(groups())}",
        f"set -g __queuectl_commands {' '.join(_first_words(found))}",
    ]
    return _template("fish", "\n".join(head)) + "\n".join(lines) + "\n"


def _fish_options(command: Command, condition: str) -> Iterator[str]:
    for option in command.options:
        names = " ".join(
            f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
        )
        value = f"-r {_fish_action(command.kind(option))}".rstrip() if option.value else ""
        line = f"complete {condition} {names} {value} -d {_fish(option.meaning.replace('`', ''))}"
        yield re.sub(r" {2,}", " ", line)


def _fish_action(kind: str) -> str:
    if kind in LISTS:
        return f"-f -a '{' '.join(LISTS[kind])}'"
    others = {
        "": "-f",
        "files": "-F",
        "directories": "-f -a '(__fish_complete_directories)'",
        "commands": "-f -a '(__fish_complete_command)'",
    }
    return others.get(kind, f"-f -a '(__queuectl_stored_words {kind})'")


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _template(shell: str, tables: str) -> str:
    text = resources.files("queued.pages").joinpath(f"completion.{shell}").read_text("utf-8")
    return text.replace("@TABLES@", tables)


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}

if __name__ == "__main__":
    sys.stdout.write(SHELLS[sys.argv[1]]())
