"""The running service: one instance is a supervisor, a dispatcher, workers and perhaps a warden."""
