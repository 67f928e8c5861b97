"""What the three processes share: messages, channels and shared memory."""
