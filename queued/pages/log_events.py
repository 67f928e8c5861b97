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
| `level` | `debug`, `info`, `warning` or `error` |
| `event` | the name of the event, from the tables below |
| `instance` | the id of the service |
| `role` | `supervisor`, `dispatcher` or `worker` |
| `pid` | the process that wrote the line |

Other fields depend on the event, for example `job` and `attempt` for the events of a job. On a
terminal the events are shown as text by default; see the setting `log_format`. Under systemd each
line has the journal's priority for its level, so that `journalctl -p warning -u queued` shows
warnings and errors only.
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
