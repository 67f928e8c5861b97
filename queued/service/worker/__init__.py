"""The worker process: runs one command at a time and knows no database."""
