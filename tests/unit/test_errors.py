"""The exit codes and the tree of errors."""

from pathlib import Path

import pytest

from queued.core import errors
from queued.core.errors import Exit, QueuedError

TREE = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, QueuedError)
]


def test_every_exit_code_has_a_meaning() -> None:
    assert list(errors.EXIT_MEANINGS) == list(Exit)


@pytest.mark.parametrize("page", ["README.md", "docs/queuectl.md"])
def test_the_tables_of_exit_codes_are_equal(root: Path, page: str) -> None:
    text = (root / page).read_text()
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in errors.EXIT_MEANINGS.items())
    assert f"|---|---|\n{rows}" in f"{text}\n"


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_has_its_own_code_and_says_when_it_is_meant(error: type[QueuedError]) -> None:
    assert "exit_code" in vars(error)
    assert error.__doc__
    assert isinstance(error.exit_code, Exit)


def test_no_error_means_success_and_one_that_not_all_was_done() -> None:
    assert {one for one in TREE if one.exit_code in {Exit.DONE, Exit.NO}} == {errors.NoMatchError}
