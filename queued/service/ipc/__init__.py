"""Messages, channels and shared memory, which the processes of the service share."""
