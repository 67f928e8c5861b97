"""The running service: one instance is a supervisor, a dispatcher and its workers."""
