"""How `db stats` shows the statistics of a database."""

from queued.core.times import iso, short_duration
from queued.ctl.render import format_bytes
from queued.store.statistics import DatabaseStats, DatedJob, ServerStats


def record(found: DatabaseStats) -> dict[str, object]:
    """Returns the statistics as `--json` prints them."""
    content, server = found.content, found.server
    return {
        "schema": found.schema,
        "bytes": found.bytes,
        **({} if found.file is None else found.file._asdict()),
        **content._asdict(),
        "oldest": _job_record(content.oldest),
        "newest": _job_record(content.newest),
        **({} if server is None else _server_record(server)),
    }


def _server_record(server: ServerStats) -> dict[str, object]:
    snapshot = server.oldest_snapshot
    return {
        "tables": {
            name: {
                "bytes": table.bytes,
                "dead_rows": table.dead_rows,
                "autovacuumed_at": _iso(table.autovacuumed_ms),
            }
            for name, table in server.tables.items()
        },
        "oldest_snapshot": None if snapshot is None else snapshot._asdict(),
        "standbys": [standby._asdict() for standby in server.standbys],
    }


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso(time_ms)


def _job_record(job: DatedJob | None) -> dict[str, str] | None:
    return None if job is None else {"id": job.id, "created_at": iso(job.created_ms)}


def fields(path: str, found: DatabaseStats) -> dict[str, str]:
    """Returns the statistics as lines of a name and a text."""
    content, file, server = found.content, found.file, found.server
    kept = format_bytes(content.output_kept_bytes)
    ends = {"oldest job": content.oldest, "newest job": content.newest}
    shown = {"database": path, "schema": str(found.schema), "size": format_bytes(found.bytes)}
    if file is not None:
        free = format_bytes(file.free_pages * file.page_bytes)
        shown["size"] += f", of which {free} are free"
        shown["write-ahead log"] = format_bytes(file.wal_bytes)
    return {
        **shown,
        **{f"rows of {table}": str(count) for table, count in content.rows.items()},
        "output": f"{kept} kept of {format_bytes(content.output_printed_bytes)} printed",
        **{name: f"{job.id}, {iso(job.created_ms)}" for name, job in ends.items() if job},
        **({} if server is None else _server_fields(server)),
    }


def _server_fields(server: ServerStats) -> dict[str, str]:
    shown = {
        f"table {name}": f"{format_bytes(table.bytes)}, {table.dead_rows} dead rows, "
        f"autovacuum: {_iso(table.autovacuumed_ms) or 'never'}"
        for name, table in server.tables.items()
    }
    if (held := server.oldest_snapshot) is not None:
        age = "?" if held.age_s is None else short_duration(held.age_s)
        whose = f"user {held.user or '?'}, {held.application or '?'}, {held.address or 'local'}"
        shown["oldest snapshot"] = f"{age} old: pid {held.pid}, {whose}"
    for standby in server.standbys:
        lag = "?" if standby.lag_s is None else short_duration(standby.lag_s)
        state = f"{standby.state or '?'}, {standby.sync_state or '?'}, {lag} behind"
        shown[f"standby {standby.application or '?'}"] = state
    return shown
