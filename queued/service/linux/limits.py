"""The resource limits of this process, which another process can lower (prlimit(2)).

A process whose limits were lowered can fail for ever: with a low limit of file sizes, for example,
each write to the database is refused.
"""

import resource
from contextlib import suppress

# All limits that can make a process fail, except RLIMIT_RTTIME, which is the mark of a run.
_NAMES = ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
_KINDS = {name: getattr(resource, f"RLIMIT_{name}") for name in _NAMES}
_UNSIGNED = 1 << 64  # modulo this, RLIM_INFINITY, which is -1, is the highest limit


class Limits:
    """The limits that this process had when this object was made."""

    def __init__(self) -> None:
        self._own = {kind: resource.getrlimit(kind) for kind in _KINDS.values()}

    def lowered(self) -> list[str]:
        """Returns the names of the limits that are lower now."""
        return [name for name, kind in _KINDS.items() if self._is_lower(kind)]

    def _is_lower(self, kind: int) -> bool:
        now, own = resource.getrlimit(kind), self._own[kind]
        return now != own and any(
            a % _UNSIGNED < b % _UNSIGNED for a, b in zip(now, own, strict=True)
        )

    def restore(self) -> None:
        """Raises lower limits again, as far as the system allows it."""
        for name in self.lowered():
            with suppress(OSError, ValueError):
                resource.setrlimit(_KINDS[name], self._own[_KINDS[name]])
