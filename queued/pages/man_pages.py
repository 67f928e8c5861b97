"""Makes the man pages from the usage texts and the settings.

`python -m queued.pages.man_pages DIRECTORY` writes them to DIRECTORY/man1, man5 and man8.
"""

import os
import re
import sys
from collections.abc import Iterator

import queued.__main__ as service
from queued import __version__
from queued.core.errors import EXIT_MEANINGS
from queued.core.settings import SETTINGS, Setting, default, expected
from queued.ctl.command_line import COMMANDS, TOP, usage_of
from queued.pages import usage_text
from queued.pages.usage_text import Entry, Section, UsageText

_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_CONF_PROSE = """\
The conf file holds the settings of `queued` and `queuectl`, in TOML: one line `key = value` for
each setting. Text is in double quotes, durations are numbers of seconds, and a setting that is not
in the file has its default.

The sources in order of precedence are: a flag of the command line, the environment variable named
below, the value that `queuectl config set` stored in the database, the conf file, the default.
`queuectl config list` shows each value and its source.

After a change, `systemctl reload queued` (or the signal HUP) makes a running service read the file
again. A file with an error is refused, and the previous values stay in force.
"""
_CONF_FILES = (
    Entry("$QUEUECTL_CONF", "the conf file, if this environment variable is set"),
    Entry("~/.config/queued/queuectl.conf", "the conf file of a user other than root"),
    Entry("/etc/queuectl.conf", "the conf file of the system"),
)
_DATABASES = (
    Entry("/var/lib/queued/queue.db", "the database of the system's service, and root's default"),
    Entry("~/.local/state/queued/queue.db", "the default database of other users"),
)
_VARIABLES = (
    Entry("QUEUECTL_DB", "the database"),
    Entry("QUEUECTL_CONF", "the conf file"),
    Entry("QUEUECTL_QUEUE", "the queue of a command that `queuectl enqueue` adds without --queue"),
    Entry(
        "QUEUECTL_WORKERS, ...",
        "each setting: QUEUECTL_ and its name in capitals; see queuectl.conf(5)",
    ),
)
_EXIT_CODES = tuple(Entry(str(code.value), text) for code, text in EXIT_MEANINGS.items())


def pages() -> dict[str, str]:
    """Each page by the name of its file, as `queuectl-enqueue.1`."""
    made = {"queued.8": _service(), "queuectl.1": _program(), "queuectl.conf.5": _conf()}
    for words in COMMANDS:
        name = f"queuectl-{words.replace(' ', '-')}"
        made[f"{name}.1"] = _command(name, usage_text.parse(usage_of(words)))
    return made


def _service() -> str:
    usage = usage_text.parse(service.USAGE)
    others = ("queuectl(1)", "queuectl.conf(5)", "systemctl(1)")
    return _page(
        "queued", 8, usage.summary, [*_body(usage), *_common_sections(), *_see_also(others)]
    )


def _program() -> str:
    usage = usage_text.parse(TOP)
    named = next(block for block in usage.blocks if isinstance(block, str))
    summary = named.partition(": ")[2] or usage.summary
    commands = (f"queuectl-{words.replace(' ', '-')}(1)" for words in COMMANDS)
    others = (*commands, "queuectl.conf(5)", "queued(8)")
    return _page("queuectl", 1, summary, [*_body(usage), *_common_sections(), *_see_also(others)])


def _command(name: str, usage: UsageText) -> str:
    codes = _list("EXIT STATUS", _EXIT_CODES)
    others = ("queuectl(1)", "queuectl.conf(5)", "queued(8)")
    return _page(name, 1, usage.summary, [*_body(usage), *codes, *_see_also(others)])


def _conf() -> str:
    lines = [".SH DESCRIPTION"]
    for paragraph in _CONF_PROSE.split("\n\n"):
        lines += [".PP", _prose(" ".join(paragraph.split()))]
    lines += _list("SETTINGS", tuple(map(_setting, SETTINGS.values())))
    lines += [".SH EXAMPLES", ".EX", "workers = 8", "default_max_retries = 5", ".EE"]
    lines += [*_list("FILES", _CONF_FILES), *_see_also(("queued(8)", "queuectl-config-list(1)"))]
    return _page("queuectl.conf", 5, "the settings of queued and queuectl", lines)


def _setting(setting: Setting) -> Entry:
    value = default(setting.key)
    shown = (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else f"{value:.12g}"
    )
    stored = "" if setting.stored else " It cannot be stored with `queuectl config set`."
    return Entry(
        setting.key,
        f"{setting.meaning}. It takes {expected(setting.key)}; the default is {shown}. "
        f"Environment: QUEUECTL_{setting.key.upper()}.{stored}",
    )


def _page(name: str, section: int, summary: str, body: list[str]) -> str:
    title = f'.TH "{_roff(name.upper())}" {section} "" "queued {__version__}"'
    named = f"{_roff(name)} \\- {_roff(summary.replace('`', ''))}"
    head = [title, ".ad l", ".SH NAME", named]
    return "\n".join(line for line in [*head, *body] if line) + "\n"


def _body(usage: UsageText) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    for call in usage.synopsis:
        yield from (".PP", _synopsis(call))
    yield ".SH DESCRIPTION"
    for block in usage.blocks:
        yield from (".PP", _prose(block)) if isinstance(block, str) else _section(block)


def _section(block: Section) -> Iterator[str]:
    if block.title:
        yield f'.SH "{_roff(block.title.upper())}"'
    if block.title.lower().startswith("example"):
        yield from (".EX", _lines(block.text), ".EE")
    else:
        yield from _entries(block.entries)


def _common_sections() -> Iterator[str]:
    yield from _list("EXIT STATUS", _EXIT_CODES)
    yield from _list("ENVIRONMENT", _VARIABLES)
    yield from _list("FILES", (*_DATABASES, *_CONF_FILES[1:]))


def _list(title: str, entries: tuple[Entry, ...]) -> Iterator[str]:
    yield f'.SH "{_roff(title)}"'
    yield from _entries(entries)


def _entries(entries: tuple[Entry, ...]) -> Iterator[str]:
    for entry in entries:
        yield from (".TP", f"\\fB{_roff(entry.term)}\\fR", _prose(entry.meaning) or "\\&")


def _see_also(others: tuple[str, ...]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    shown = [re.sub(r"^(.*)(\(\d\))$", r"\\fB\1\\fR\2", _roff(other)) for other in others]
    yield ",\n".join(shown)


def _synopsis(call: str) -> str:
    """Returns a synopsis in roff, with the placeholders in italics and all other text in bold."""
    placeholder = r"(?<![\w-])[A-Z][A-Z_]+(?![\w-])"
    parts = re.split(f"({placeholder})", call)
    return "".join(
        f"\\fI{_roff(part)}\\fR" if index % 2 else f"\\fB{_roff(part)}\\fR"
        for index, part in enumerate(parts)
        if part
    )


def _prose(text: str) -> str:
    """Returns a text in roff, with the parts between backquotes in bold."""
    parts = text.split("`")
    bold = len(parts) % 2 == 1
    shown = [f"\\fB{_roff(p)}\\fR" if bold and i % 2 else _roff(p) for i, p in enumerate(parts)]
    return _guarded(("" if bold else "\\(ga").join(shown))


def _lines(text: str) -> str:
    return "\n".join(_guarded(_roff(line)) for line in text.splitlines())


def _guarded(line: str) -> str:
    """A line that groff takes as text, also if it begins with a control character."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _roff(text: str) -> str:
    """Returns a text in roff, in which no character has a special meaning."""
    plain = "".join(_ESCAPES.get(character, character) for character in text)
    return "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in plain)


def write(directory: str) -> None:
    """Writes each page to its section's directory below `directory`."""
    for name, page in pages().items():
        place = os.path.join(directory, f"man{name[-1]}")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, name), "w", encoding="ascii") as file:
            file.write(page)


if __name__ == "__main__":
    write(sys.argv[1])
