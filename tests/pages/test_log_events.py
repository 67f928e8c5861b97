"""docs/log-events.md is what its generator makes."""

from queued.pages import log_events
from queued.service.log import EVENTS
from tests.cli.queuectl_runner import ROOT


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/log-events.md").read_text("utf-8") == log_events.page()


def test_the_page_has_every_event_once() -> None:
    page = log_events.page()
    assert all(page.count(f"| `{event}` | {text} |") == 1 for event, text in EVENTS.items())
