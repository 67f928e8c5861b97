"""The database, and the files beside it. No other package contains SQL or imports a driver."""
