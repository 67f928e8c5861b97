"""Claims ready jobs in a PostgreSQL database, and decides where in their index a claim begins."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from queued.core.records import Share
from queued.store.postgres.connection import Database, Row
from queued.store.postgres.queues import LedgerQueues, Room

# A claim of many jobs begins where the last one ended. Before that place are the index entries of
# claimed jobs, which stay as long as any transaction on the server may still see them.
_MANY = 8
_FROM_FIRST_MS = 250  # between two claims that begin at the most urgent job
_FIRST_PLACE = (-(2**31), 0, 0)

Places = Mapping[int, tuple[int, int, int]]  # by lane, in the order of claiming


class _Claim(NamedTuple):
    """The values of one call that all its statements share."""

    instance: str
    workers: Sequence[int]
    token: int
    now_ms: int
    idle: int  # of the workers
    rows: list[Row]  # that were claimed until now


class Claiming:
    """Claims jobs for one dispatcher.

    While many jobs are claimed at once, a job that is enqueued before them in the order of claiming
    may be passed over for 250 ms.
    """

    def __init__(self, database: Database, queues: LedgerQueues) -> None:
        self._database = database
        self._queues = queues
        self._places: Places = {}  # of the last jobs that were claimed, of claims that were full
        self._from_first_ms = 0  # the time of the last claim that began at the most urgent jobs
        self._hungry: bool | None = None  # as in the row of the instance; None if not known

    def claim(  # noqa: PLR0913 - the values of one statement
        self,
        instance: str,
        workers: Sequence[int],
        token: int,
        now_ms: int,
        shares: Sequence[Share],
        *,
        idle: int,
    ) -> list[Row]:
        """Returns the rows of the claims; see `Ledger.claim`."""
        claim = _Claim(instance, workers, token, now_ms, idle, [])
        begun_lately = 0 <= now_ms - self._from_first_ms < _FROM_FIRST_MS
        many = len(workers) >= _MANY
        if many and begun_lately and self._places:
            self._ask(claim, shares, self._places)
        if len(claim.rows) < len(workers):
            self._from_first_ms = now_ms
            self._ask(claim, shares, {})
        for share in shares:  # other dispatchers may have locked the first jobs of one lane
            # They cannot in a limited queue. There a heavy job of another lane may wait for places.
            for lane in share.lanes if len(share.lanes) > 1 and not share.limited else ():
                self._ask(claim, [share._replace(lanes=[lane])], {})
        if many:
            full = len(claim.rows) == len(workers)
            ends = {row[15]: (row[14], row[9], row[0]) for row in claim.rows}
            self._places = {**self._places, **ends} if full else {}
        return claim.rows

    def _ask(self, claim: _Claim, shares: Sequence[Share], places: Places) -> None:
        """Claims what the shares still lack."""
        rest = claim.workers[len(claim.rows) :]
        taken = Counter(row[4] for row in claim.rows)
        wanted = [
            share._replace(most=min(share.most - taken[share.queue], len(rest))) for share in shares
        ]
        limited = [share for share in wanted if share.limited and share.most > 0]
        rooms = self._queues.lock_limits(limited, claim.now_ms)
        wanted = [
            share._replace(most=min(share.most, rooms.get(share.queue, Room()).starts))
            for share in wanted
            if share.most > 0 and (not share.limited or share.queue in rooms)
        ]
        if not wanted or not rest:
            return
        lanes = [(part, lane) for part, share in enumerate(wanted, 1) for lane in share.lanes]
        begins = [places.get(lane, _FIRST_PLACE) for _, lane in lanes]
        given = [rooms.get(share.queue, Room()) for share in wanted]
        rows = self._database.rows(
            "claim",
            instance=claim.instance,
            workers=[*rest],
            idle=max(0, claim.idle - len(claim.rows)),
            count=len(rest),
            token=claim.token + len(claim.rows),
            now=claim.now_ms,
            queues=[share.queue for share in wanted],
            counts=[share.most for share in wanted],
            mosts=[room.most for room in given],
            rooms=[room.free for room in given],
            rates=[room.rate for room in given],
            parts=[part for part, _ in lanes],
            lanes=[lane for _, lane in lanes],
            ranks=[rank for rank, _, _ in begins],
            dues=[due for _, due, _ in begins],
            afters=[after for _, _, after in begins],
        )
        claim.rows.extend(rows)
        if any(row[17] for row in rows):  # starts of keys with a rate
            self._queues.retry(claim.now_ms)
        rated = {name for name, room in rooms.items() if room.rate >= 0}
        started = Counter(row[4] for row in rows if row[4] in rated)
        self._queues.rates.add(started, claim.now_ms)

    def on_rollback(self) -> None:
        """Forgets what the row of the instance says, because a change of it was undone."""
        self._hungry = None

    def set_hungry(self, instance: str, hungry: bool) -> None:  # noqa: FBT001 - a value
        """Asks for notifications of new jobs while there are fewer than workers for them.

        A job may be enqueued before this request is committed, so another turn must look for it.
        """
        if hungry is not self._hungry:
            self._hungry = hungry
            self._database.run("set_hungry", id=instance, hungry=hungry)
            if hungry:
                self._database.look_again()
