"""Runs the console blocks of the pages in docs/, and compares or rewrites what they print.

A page is one session of a shell, from its first block to its last, in an empty home directory.
`python -m tests.docs.console` writes what the commands print to the blocks that say otherwise.
"""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from tests.service import install_programs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
HOME = "/home/ada"  # as the pages show it
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "--- end of the command ---"
_OF_A_RUN = (
    r"pid|host|version|\w*_seconds|oldest_age|peak_kib|\w*bytes|\w*pages|before|after|submitted_by"
)
_VARIABLE = {
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?": "TIME",
    r"\b[0-9a-hjkmnp-tv-z]{13}\b": "ID",
    rf'("(?:{_OF_A_RUN})":) "?[\w.:+-]+"?': r"\1 N",
    r"\d{8}T\d{9}Z": "TIME",
    r"\bpid \d+": "pid N",
    r"\b\d+(\.\d+)?(ms|s|m|h|d)(\d+[smh])?\b": "DURATION",
    r"\b\d+(\.\d+)?[KM]\b": "SIZE",
    r"[ -]{2,}": " ",
}


class Step(NamedTuple):
    """A command of a block, as it is typed, and what the page says that it prints."""

    command: str
    printed: str


def blocks(page: Path) -> list[list[Step]]:
    """The steps of each console block of a page."""
    return [_steps(match[1]) for match in _BLOCK.finditer(page.read_text("utf-8"))]


def _steps(block: str) -> list[Step]:
    steps: list[Step] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, *lines = part.splitlines()
        more = list(takewhile(lambda line: line.startswith("> "), lines))
        printed = "".join(f"{line}\n" for line in lines[len(more) :])
        steps.append(Step("\n".join([first, *(line[2:] for line in more)]), printed))
    return steps


def comparable(text: str) -> str:
    """The text without what differs from one run to the next: times, sizes, generated names."""
    for pattern, word in _VARIABLE.items():
        text = re.sub(pattern, word, text)
    return "\n".join(line.strip() for line in text.splitlines())


class Session:
    """A shell with our programs on its path and an empty home directory."""

    def __init__(self, directory: Path) -> None:
        self._home = directory / "home"
        programs = directory / "bin"
        self._home.mkdir()
        install_programs(programs)
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("QUEUE", "XDG", "JOURNAL", "COLUMNS"))
        }
        database = self._home / ".local/state/queued/queue.db"  # as root's default is the system's
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self._home,
            env={
                **kept,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "HOME": str(self._home),
                "QUEUECTL_DB": str(database),
                "LC_ALL": "C.UTF-8",
                "TZ": "UTC",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """Runs a command; returns its output on both streams."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{command}\nprintf '%s\\n' '{_END}'\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            head, found, _ = line.partition(_END)
            printed += head
            if found:
                return printed.replace(str(self._home), HOME)
        msg = f"the shell ended at: {command}\n{printed}"
        raise AssertionError(msg)

    def close(self) -> None:
        """Stops a service that the page has left running, and ends the shell."""
        self.run("queuectl worker stop --timeout 20 >/dev/null 2>&1")
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()


@contextmanager
def session() -> Iterator[Session]:
    """A session that is closed at the end."""
    with tempfile.TemporaryDirectory() as directory:
        opened = Session(Path(directory))
        try:
            yield opened
        finally:
            opened.close()


def rewrite(page: Path) -> bool:
    """Runs a page and corrects its blocks. Returns whether one was wrong."""
    text = page.read_text("utf-8")
    with session() as shell:
        corrected = _BLOCK.sub(lambda match: _corrected(shell, match[1]), text)
    page.write_text(corrected, "utf-8")
    return corrected != text


def _corrected(shell: Session, block: str) -> str:
    lines = []
    for command, printed in _steps(block):
        real = shell.run(command)
        same = comparable(real) == comparable(printed)
        typed = command.replace("\n", "\n> ")
        lines.append(f"$ {typed}\n{printed if same else real}")
    return f"```console\n{''.join(lines)}```"


if __name__ == "__main__":
    for page in PAGES:
        if blocks(page) and rewrite(page):
            print(f"{page.relative_to(ROOT)} was corrected; see: git diff")
