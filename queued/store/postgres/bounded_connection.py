"""A connection to PostgreSQL whose waits are bounded, and reported while they last."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from queued.core.times import monotonic_s

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed if an answer takes longer than `limit_s` (None: no limit)."""

    limit_s: float | None = None
    on_wait: Callable[[float], None] | None = None  # is called with the seconds waited so far

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        """Runs a generator of psycopg to its end. Raises OperationalError after `limit_s`."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    @contextmanager
    def noting(self, warnings: list[str | None]) -> Iterator[None]:
        """Collects the warnings of the server meanwhile."""

        def note(diagnostic: psycopg.errors.Diagnostic) -> None:
            if diagnostic.severity_nonlocalized == "WARNING":
                warnings.append(diagnostic.message_primary)

        self.add_notice_handler(note)
        try:
            yield
        finally:
            self.remove_notice_handler(note)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """Runs `gen`; checks the limit whenever psycopg's loop reports no event for 0.1 s."""
        start, ready = monotonic_s(), None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as ended:
                result: T = ended.value
                return result
            ready = yield wanted
            if not ready:
                self._waited(monotonic_s() - start)

    def _waited(self, waited_s: float) -> None:
        if self.on_wait is not None:
            self.on_wait(waited_s)
        if self.limit_s is not None and waited_s > self.limit_s:
            self.pgconn.finish()
            msg = f"no answer for {waited_s:.0f} s"
            raise psycopg.OperationalError(msg)
