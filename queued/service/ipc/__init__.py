"""Messages, channels and shared memory, which the three processes share."""
