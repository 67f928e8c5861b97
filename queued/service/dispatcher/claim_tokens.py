"""The random part of a claim's key, which also tells when the claim was made."""

import random

_CHANCE_BITS = 14


class Tokens:
    """Makes tokens: none a second time, each larger than all before it, other dispatchers' too."""

    def __init__(self) -> None:
        self._last = 0

    def make(self, now_s: float, count: int = 1) -> int:
        """The first of so many in a row.

        It is made of the microseconds since boot, for the wall clock may be set back between two,
        and of chance.
        """
        token = int(now_s * 1_000_000) << _CHANCE_BITS
        first = max(self._last + 1, token | random.getrandbits(_CHANCE_BITS))
        self._last = first + count - 1
        return first


def made_s(token: int) -> float:
    """When a token was made, on the monotonic clock."""
    return (token >> _CHANCE_BITS) / 1_000_000
