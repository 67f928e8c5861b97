"""Work on a queue in PostgreSQL as a whole: check, backup, move, vacuum, stats."""
