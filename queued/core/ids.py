"""Job ids: short, unique, and in the order of the times at which they were made."""

import os

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in the order of its codes
LENGTH = 13
_RANDOM_BITS = 20


class IdSource:
    """Makes ids of 13 characters: 45 bits of milliseconds since 1970, then 20 random bits.

    Ids of one source always increase, also within one millisecond and after the clock was set back.
    Two sources make the same id only within the same millisecond, with a probability of one in a
    million; the database then refuses the second, and another one is made.
    """

    def __init__(self) -> None:
        self._last = 0

    def make(self, now_ms: int) -> str:
        """Returns a new id, greater than every id that this source made before."""
        noise = int.from_bytes(os.urandom(3), "big") >> (24 - _RANDOM_BITS)
        self._last = max(now_ms << _RANDOM_BITS | noise, self._last + 1)
        return encode(self._last)


def encode(number: int) -> str:
    """Returns `number` (below 2**65) as 13 digits of base 32."""
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def is_id(name: str) -> bool:
    """Returns whether a name has the form of a generated id."""
    return len(name) == LENGTH and set(name) <= set(ALPHABET)
