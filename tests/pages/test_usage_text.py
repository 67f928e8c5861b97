"""The parts of a usage text, for all that generates pages from one."""

from queued.pages import usage_text
from queued.pages.usage_text import Entry, Option, Section

TEXT = """\
Usage:
  queuectl add [options] JSON
  queuectl add [options] [--env VAR]...
               -- WORDS...

Adds a job: prints
its id.

What runs options:
  -n, --name NAME      its name, which may be
                       cut short
  --dry-run            change nothing

Examples:
  queuectl add -- sleep 2
"""


def test_the_ways_to_call_it() -> None:
    calls = (
        "queuectl add [options] JSON",
        "queuectl add [options] [--env VAR]... -- WORDS...",
    )
    assert usage_text.parse(TEXT).synopsis == calls


def test_prose_and_sections_in_their_order() -> None:
    prose, options, examples = usage_text.parse(TEXT).blocks
    assert prose == "Adds a job: prints its id."
    assert isinstance(options, Section)
    assert options.title == "What runs options"
    assert options.entries == (
        Entry("-n, --name NAME", "its name, which may be cut short"),
        Entry("--dry-run", "change nothing"),
    )
    assert isinstance(examples, Section)
    assert (examples.title, examples.text) == ("Examples", "queuectl add -- sleep 2")


def test_the_summary_is_the_first_sentence() -> None:
    assert usage_text.parse(TEXT).summary == "adds a job"


def test_options_with_their_spellings_and_values() -> None:
    assert usage_text.parse(TEXT).options == (
        Option(("-n", "--name"), "NAME", "its name, which may be cut short"),
        Option(("--dry-run",), "", "change nothing"),
    )
