"""Makes docs/log-events.md from the list of events (`make manual`)."""

import sys

from queued.service.log import EVENTS

_HEAD = """\
# Log events

`make manual` writes this page from the list in `queued/service/log.py`; do not edit it.

Each line of the service's log is one JSON object, which begins with these fields:

| field | meaning |
|---|---|
| `ts` | when the line was written, in UTC |
| `level` | `debug`, `info`, `warning`, `error` or `critical` |
| `event` | the name of the event, from the tables below |
| `instance` | the id of the service |
| `role` | `supervisor`, `dispatcher`, `worker` or `warden` |
| `pid` | the process that wrote the line |

Other fields depend on the event. The six events that record a run (`job.completed`, `job.retrying`,
`job.deferred`, `job.dead`, `job.cancelled`, `job.interrupted`) have these:

| field | meaning |
|---|---|
| `job`, `queue`, `attempt` | the job, and the number of the run |
| `worker` | the worker that ran the command |
| `command` | the first 200 characters of the command: pass secrets in `env`, not in the command |
| `outcome`, `exit_code`, `signal` | how the run ended |
| `error` | the reason, with the end of what the command printed; null after success |
| `state` | the state of the job now |
| `attempts`, `max_retries` | failed runs so far, and the number at which the job is dead |
| `next_run_at` | when a job that is pending again is due |
| `waited_ms` | how long the job had waited since it was due and enqueued |
| `ran_ms`, `cpu_ms`, `peak_kib` | how long the command ran, its CPU time and peak memory |
| `output_bytes` | how much it printed |

On a terminal the events are shown as text by default, cut to the width of the terminal; see the
setting `log_format`.

Under systemd each line is the message of an entry in the journal, with fields beside it:

| field of the journal | meaning |
|---|---|
| `PRIORITY` | the level, so that `journalctl -p warning -u queued` shows warnings and errors only |
| `QUEUED_EVENT` | the event |
| `QUEUED_JOB`, `QUEUED_QUEUE` | the job and its queue: `journalctl QUEUED_JOB=ID` shows its lines |
| `QUEUED_STATE` | the state of the job after a run: `journalctl QUEUED_STATE=dead` |
"""


def page() -> str:
    """Returns the whole page in Markdown: a table for each noun that events begin with."""
    nouns = dict.fromkeys(event.partition(".")[0] for event in EVENTS)
    return _HEAD + "".join(_table(noun) for noun in nouns)


def _table(noun: str) -> str:
    rows = [
        f"| `{event}` | {meaning} |\n"
        for event, meaning in EVENTS.items()
        if event.partition(".")[0] == noun
    ]
    return f"\n## {noun}\n\n| event | meaning |\n|---|---|\n{''.join(rows)}"


if __name__ == "__main__":
    sys.stdout.write(page())
