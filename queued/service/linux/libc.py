"""System calls that Python has no function for, through libc."""

import ctypes
import os

C = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """Returns the result of a call. Raises OSError with its errno if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
