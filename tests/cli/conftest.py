"""Fixtures of the tests of queuectl."""

from pathlib import Path

import pytest

from tests import engine_choice

pytest_generate_tests = engine_choice.parametrize


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """The path of a backup that does not exist yet, in a directory of its own."""
    directory = tmp_path / "elsewhere"
    directory.mkdir(mode=0o700)
    return directory / "copy.db"
