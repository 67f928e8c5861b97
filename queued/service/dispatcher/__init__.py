"""The dispatcher process: the only database user of the service."""
