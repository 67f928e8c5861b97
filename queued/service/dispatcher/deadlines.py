"""A table of the times at which the dispatcher makes a turn even if no message has come."""

from queued.core import times


class Deadlines:
    """Deadlines by name, on the monotonic clock. A deadline stays due until it is set anew."""

    def __init__(self) -> None:
        self._at_s: dict[str, float] = {}

    def set(self, name: str, at_s: float) -> None:
        """Replaces the deadline of that name; `NEVER_S` removes it."""
        if at_s < times.NEVER_S:
            self._at_s[name] = at_s
        else:
            self._at_s.pop(name, None)

    @property
    def next_s(self) -> float:
        """The earliest deadline; `NEVER_S` if there is none."""
        return min(self._at_s.values(), default=times.NEVER_S)

    def only_due(self, name: str, now_s: float) -> bool:
        """Returns whether the deadline of that name has come, and no other one."""
        return [one for one in self._at_s if self.due(one, now_s)] == [name]

    def due(self, name: str, now_s: float) -> bool:
        """Returns whether the deadline of that name has come."""
        return self._at_s.get(name, times.NEVER_S) <= now_s
