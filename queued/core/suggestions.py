"""How a message shows what the user gave, and which known word was probably meant."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest of `known`, or nothing if none is close."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def brief(value: object, limit: int = 60) -> str:
    """`value` as it may stand in a message: on one line, escaped, cut after `limit` characters."""
    try:
        shown = ascii(value)
    except ValueError:  # a whole number of more digits than Python is willing to write
        return "a number that is too long"
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
