"""Generated ids: short, unique, and different from their first characters on."""

import os

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in the order of its codes
LENGTH = 13
_BYTES = 9  # 72 random bits, of which 65 are used


def make(count: int) -> list[str]:
    """Returns `count` new ids of 65 random bits each, in alphabetic order.

    Among a million jobs five characters of an id nearly always name one job. The ids are random and
    not times, because the first characters of times are equal for weeks. They are sorted, because
    insertions into an index are faster in its order. If an id exists already, the database refuses
    it, and the caller makes another.
    """
    return sorted(encode(int.from_bytes(os.urandom(_BYTES), "big") >> 7) for _ in range(count))


def encode(number: int) -> str:
    """Returns `number` (below 2**65) as 13 digits of base 32."""
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
