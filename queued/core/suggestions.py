"""Parts of messages: a value from the user, escaped, and the closest known word."""

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` with the closest of `known`, or "" if none is close."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def shorten(value: object, limit: int = 60) -> str:
    """Returns `value` for a message: on one line, escaped, cut after `limit` characters."""
    try:
        shown = ascii(value)
    except ValueError:  # an integer with more digits than Python converts
        return "a number that is too long"
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
