"""The form in which messages show values from the user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.core.suggestions import did_you_mean, shorten

KNOWN = ["command", "priority", "queue"]


@pytest.mark.parametrize(
    ("word", "said"),
    [("comand", "; did you mean 'command'?"), ("prio", ""), ("xyz", "")],
)
def test_the_nearest_word_is_named_if_there_is_one(word: str, said: str) -> None:
    assert did_you_mean(word, KNOWN) == said


@given(st.text() | st.integers() | st.floats() | st.binary() | st.lists(st.text()))
def test_a_message_stays_one_short_line_whatever_it_shows(value: object) -> None:
    assert len(shorten(value)) <= 60
    assert shorten(value).isascii()
    assert shorten(value).isprintable()


def test_short_values_are_shown_whole() -> None:
    assert shorten("a\nb") == r"'a\nb'"
    assert shorten("x" * 100) == "'" + "x" * 56 + "..."
    assert shorten(10**5000) == "a number that is too long"
