"""Words that choose queues."""

import pytest

from queued.core import queue_names
from queued.core.errors import UsageError


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "mail mail-slow web"),
        ("mail", "mail"),
        ("mail*,web", "mail mail-slow web"),
        ("*l", "mail"),
        ("-mail*", "web"),
        ("mail*,-mail-slow", "mail"),
        ("m.il", ""),
    ],
)
def test_words_choose_queues(words: str, names: str) -> None:
    given = [word for word in words.split(",") if word]
    chosen = [one for one in ("mail", "mail-slow", "web") if queue_names.chosen(given, one)]
    assert chosen == names.split()


@pytest.mark.parametrize("word", ["", "-", "a\n"])
def test_a_word_that_chooses_nothing_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=r"^queues takes names, mail\* and -NAME"):
        queue_names.check(["a", word])
