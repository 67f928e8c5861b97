"""Words that choose queues: names, patterns such as `mail*`, and `-NAME` for all but these."""

import re
from collections.abc import Collection

from queued.core.errors import UsageError


def check(words: Collection[str]) -> None:
    """Raises UsageError if one of the words chooses nothing."""
    if not all(word.removeprefix("-") and word.isprintable() for word in words):
        msg = "queues takes names, mail* and -NAME (all but NAME), separated by commas"
        raise UsageError(msg)


def chosen(words: Collection[str], name: str) -> bool:
    """Returns whether the words choose a queue; without a word that is no exclusion, all are.

    In each word `*` stands for any text.
    """
    excluding = [word[1:] for word in words if word.startswith("-")]
    including = [word for word in words if not word.startswith("-")] or ["*"]
    return _matches(including, name) and not _matches(excluding, name)


def _matches(patterns: Collection[str], name: str) -> bool:
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns
    )
