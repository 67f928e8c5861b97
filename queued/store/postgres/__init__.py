"""The database engine on PostgreSQL."""
