"""The SQLite engine: one file, opened by apsw. Nothing else of queued imports apsw."""
