"""Writes docs/queuectl.md from the usage texts (`make manual`)."""

from collections.abc import Iterator

from queued.core.errors import EXIT_MEANINGS
from queued.ctl.command_line import COMMANDS, TOP, usage_of
from queued.ctl.render import print_out

_HEAD = """\
# queuectl

`make manual` writes this page from the help texts of `queuectl`; do not edit it.

"""

_TAIL = """\
`wait`, `logs --follow` and `enqueue --wait` exit with the exit code of the job. 130 means Ctrl+C.
"""


def manual() -> str:
    """Returns the whole page in Markdown."""
    return _HEAD + "\n".join(_sections()) + "\n" + _TAIL


def _sections() -> Iterator[str]:
    yield _block(TOP)
    for words in COMMANDS:
        yield f"## queuectl {words}\n\n{_block(usage_of(words))}"
    yield "## Exit codes\n\n| code | means |\n|---|---|"
    yield from (f"| {code.value} | {meaning} |" for code, meaning in EXIT_MEANINGS.items())


def _block(text: str) -> str:
    return f"```text\n{text}```\n"


if __name__ == "__main__":
    print_out(manual().rstrip())
