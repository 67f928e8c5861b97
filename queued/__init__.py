"""A durable job queue for shell commands: `queued` runs them, `queuectl` is its command line.

The packages. `store` imports `core`; `service` and `ctl` import both:

core/      pure rules without I/O: errors and exit codes, the model of a job, retry delays, times,
           ids, the format of a job, all settings
store/     the only package with SQL: `protocols` says what an engine must do; sqlite/ does it for
           queuectl (`client_store`) and for the dispatcher (`dispatcher_store`)
service/   the running service: supervisor/ forks and restarts the processes, dispatcher/ owns the
           database, worker/ runs one command at a time; they use ipc/ and linux/
ctl/       queuectl: a usage text and a function for each command
pages/     makes the man pages, the completions and docs/log-events.md

`__main__` is `queued`: it loads the settings, prepares the database and becomes the supervisor.
"""

__version__ = "1.0.0"
