"""Numbers about all runs in a PostgreSQL database; see `store.numbers`."""

from queued.core.run_counts import place_of
from queued.core.settlement import Settlement
from queued.store.numbers import Numbers, Sizes
from queued.store.postgres.connection import Database


def numbers(database: Database) -> Numbers:
    """Returns the numbers for queuectl."""

    def sizes() -> Sizes:
        with database.reading():
            return Sizes(int(database.value("bytes", schema=database.address.schema)), 0)

    return Numbers(database, database.reading, sizes)


def count_columns(one: Settlement) -> dict[str, str | int | None]:
    """Returns the columns of `settle` that say where the numbers count a run."""
    waited, ran = place_of(one.waited_ms), place_of(one.ending.ran_ms)
    return {
        "result": one.result,
        "waited_le": waited.le,
        "ran_le": ran.le,
        "wait_bucket": None if one.waited_ms is None else waited.bucket,
        "run_bucket": ran.bucket,
        "retries": int(one.is_retry),
    }
