"""Makes docs/queuectl.md of the usage texts (`make manual`)."""

from collections.abc import Iterator

from queued.core.errors import EXIT_MEANINGS
from queued.ctl.__main__ import COMMANDS, TOP, usage_of
from queued.ctl.render import put

_HEAD = """\
# queuectl

This page is made of what `queuectl help` prints: do not edit it, run `make manual`.

"""

_TAIL = """\
An exit code of a command that shows how a job ended (`wait`, `logs --follow`, `enqueue --wait`) is
the job's own. 130 is Ctrl+C.
"""


def manual() -> str:
    """The whole page in Markdown."""
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
    put(manual().rstrip())
