"""`queuectl` called in this process, as often as a test likes: hundreds of times a second."""

import contextlib
import gc
import io
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from queued.core.errors import Exit
from queued.ctl import command_line as program

DOCUMENTED = frozenset(int(code) for code in Exit) - {Exit.INTERNAL}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return content.decode("utf-8", "replace")


def run(words: Sequence[str], stdin: str | bytes = "") -> Done:
    """Runs a command and returns its exit code and its output."""
    out, err = _stream(), _stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _stdin(stdin):
        try:
            code = program.main(list(words), busy_limit_s=5.0)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            gc.enable()  # `main` disables it, because its process is short
    return Done(code, _text(out), _text(err))


@contextlib.contextmanager
def _stdin(given: str | bytes) -> Iterator[None]:
    before = sys.stdin
    content = given if isinstance(given, bytes) else given.encode("utf-8", "surrogateescape")
    sys.stdin = io.TextIOWrapper(io.BytesIO(content))
    try:
        yield
    finally:
        sys.stdin = before


@contextlib.contextmanager
def surroundings(directory: Path, env: dict[str, str]) -> Iterator[None]:
    """Gives this process a working directory and an environment, and its own ones back."""
    with contextlib.chdir(directory), mock.patch.dict(os.environ, env, clear=True):
        time.tzset()
        yield
    time.tzset()


def check(words: Sequence[str], stdin: str = "", *, codes: frozenset[int] = DOCUMENTED) -> Done:
    """Runs a command; asserts that its exit code is documented and that an error has a message."""
    done = run(words, stdin)
    told = (words, done)
    assert done.code in codes, told
    assert "Traceback" not in done.err, told
    assert "internal error" not in done.err, told
    if done.code not in {Exit.DONE, Exit.NO}:
        assert "queuectl: " in done.err, told
    return done


def contents(directory: Path) -> dict[str, bytes]:
    """All files of a directory but the index of a WAL."""
    return {
        name: (directory / name).read_bytes()
        for name in os.listdir(directory)
        if not name.endswith("-shm") and (directory / name).is_file()
    }
