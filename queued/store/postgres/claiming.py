"""Claims ready jobs in a PostgreSQL database, and decides where in their index a claim begins."""

from collections.abc import Sequence

from queued.store.postgres.connection import Database, Row

# A claim of many jobs begins where the last one ended. Before that place are the index entries of
# claimed jobs, which stay as long as any transaction on the server may still see them.
_MANY = 8
_FROM_FIRST_MS = 250  # between two claims that begin at the most urgent job
_FIRST_PLACE = (-(2**31), 0, 0)


class Claiming:
    """Claims jobs for one dispatcher.

    While many jobs are claimed at once, a job that is enqueued before them in the order of claiming
    may be passed over for 250 ms.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place = _FIRST_PLACE  # of the last job that was claimed, in the order of claiming
        self._from_first_ms = 0  # the time of the last claim that began at the most urgent job
        self._hungry: bool | None = None  # as in the row of the instance; None if not known

    def claim(
        self, instance: str, workers: Sequence[int], token: int, now_ms: int, lanes: Sequence[int]
    ) -> list[Row]:
        """Returns the rows of the claims; see `Ledger.claim`."""
        rows: list[Row] = []

        def claim(place: tuple[int, int, int], lanes: Sequence[int]) -> None:
            rest = workers[len(rows) :]
            if rest:
                values = dict(zip(("rank", "due", "after"), place, strict=True))
                values |= {"count": len(rest), "token": token + len(rows), "now": now_ms}
                rows.extend(
                    self._database.rows(
                        "claim", instance=instance, workers=[*rest], lanes=[*lanes], **values
                    )
                )

        begun_lately = 0 <= now_ms - self._from_first_ms < _FROM_FIRST_MS
        many = len(workers) >= _MANY
        if many and begun_lately and self._place != _FIRST_PLACE:
            claim(self._place, lanes)
        if len(rows) < len(workers):
            self._from_first_ms = now_ms
            claim(_FIRST_PLACE, lanes)
        if len(lanes) > 1:  # other dispatchers may have locked the first jobs of one lane
            for lane in lanes:
                claim(_FIRST_PLACE, [lane])
        if many:
            full = len(rows) == len(workers)
            self._place = (rows[-1][13], rows[-1][9], rows[-1][0]) if full else _FIRST_PLACE
        self._set_hungry(instance, len(rows) < len(workers))
        return rows

    def on_rollback(self) -> None:
        """Forgets what the row of the instance says, because a change of it was undone."""
        self._hungry = None

    def _set_hungry(self, instance: str, hungry: bool) -> None:  # noqa: FBT001 - a value
        """Asks for notifications of new jobs while there are fewer than workers for them.

        A job may be enqueued before this request is committed, so another turn must look for it.
        """
        if hungry is not self._hungry:
            self._hungry = hungry
            self._database.run("set_hungry", id=instance, hungry=hungry)
            if hungry:
                self._database.look_again()
