"""A durable job queue for shell commands: `queued` runs them, `queuectl` is its command line.

Where things are, and who imports whom (core <- store <- service and ctl, one way):

core/      pure rules, no I/O: the errors and exit codes, the model of a job's life, retry delays,
           times, ids, what a payload may say, every setting
store/     the only place with SQL: `base` says what a database must do; `sqlite` does it for
           queuectl, `ledger` for the dispatcher; schema and statements are in sql/
service/   the running service: `supervisor` forks and restarts, `dispatcher` owns the database,
           `worker` runs one command at a time with `executor`; they talk over `channel`
ctl/       queuectl: a usage text and a function per command

`__main__` is `queued`: it loads the settings, prepares the database and becomes the supervisor.
"""

__version__ = "1.0.0"
