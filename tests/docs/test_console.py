"""The commands in the pages of docs/ print what the pages show."""

from pathlib import Path

import pytest

from tests.docs import console

WITH_BLOCKS = [page for page in console.PAGES if console.blocks(page)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.stem))
def test_each_command_prints_what_the_page_says(page: Path) -> None:
    with console.session() as shell:
        for step in (step for block in console.blocks(page) for step in block):
            real = console.comparable(shell.run(step.command))
            assert real == console.comparable(step.printed), step.command


def test_the_pages_with_commands() -> None:
    assert {page.stem for page in WITH_BLOCKS} >= {"recipes", "faq", "json", "sql"}
