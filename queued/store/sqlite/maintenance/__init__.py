"""Care of the database file as a whole: backup, restore, check, vacuum, figures."""
