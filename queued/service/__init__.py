"""The running service: one supervisor, one dispatcher, N workers."""
