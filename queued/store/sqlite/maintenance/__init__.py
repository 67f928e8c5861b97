"""Work on the database file as a whole: backup, restore, check, vacuum, stats."""
