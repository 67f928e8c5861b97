"""`queuectl`: a usage text and a function per command. It reads and writes the database only."""
