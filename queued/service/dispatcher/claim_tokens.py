"""Tokens: the unique part of a claim's key, which contains the time of the claim."""

import random

_RANDOM_BITS = 14


class Tokens:
    """Makes tokens. Each is larger than all earlier ones, also than those of other dispatchers."""

    def __init__(self) -> None:
        self._last = 0

    def reserve(self, now_s: float, count: int = 1) -> int:
        """Returns the first of `count` consecutive tokens.

        A token consists of the microseconds since boot and of random bits. It does not use the wall
        clock, because that may be set back between two tokens.
        """
        token = int(now_s * 1_000_000) << _RANDOM_BITS
        first = max(self._last + 1, token | random.getrandbits(_RANDOM_BITS))
        self._last = first + count - 1
        return first


def token_time_s(token: int) -> float:
    """Returns when the token was made, in seconds on the monotonic clock."""
    return (token >> _RANDOM_BITS) / 1_000_000
