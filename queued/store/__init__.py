"""The only place with SQL and apsw: a `Store` and what is beside its file."""
