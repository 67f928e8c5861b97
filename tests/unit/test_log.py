"""Log lines are safe on a terminal, in both styles."""

import json
import re

import pytest

from queued.service.log import LogOutput

EVIL = "a\x1b]0;b\x07c\x9bd\u202ee\x7ff\U000e0041g"
LINES = f"{EVIL}\n{EVIL}"


@pytest.mark.parametrize("style", ["json", "console"])
def test_control_characters_of_a_job_do_not_reach_a_terminal(
    capfd: pytest.CaptureFixture[str], style: str
) -> None:
    LogOutput("info", style).log(role="worker").info("job.printed", job=EVIL, line=LINES)
    (line,) = capfd.readouterr().out.splitlines()
    assert line.isprintable()
    assert style == "console" or json.loads(line)["line"] == LINES


def test_a_traceback_has_lines_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    log = LogOutput("info", "console").log(role="worker")

    def fail() -> None:
        raise ValueError(EVIL)

    try:
        fail()
    except ValueError:
        log.exception("process.failed")
    lines = capfd.readouterr().out.split("\n")
    assert any(line.startswith("Traceback") for line in lines)
    assert all(line.isprintable() for line in lines)


ENDING = {
    "job": "backup",
    "queue": "nightly",
    "outcome": "exit",
    "error": "exit 3: " + "no route to host " * 20,
    "attempts": 2,
    "max_retries": 2,
}


def test_the_text_of_a_run_fits_a_line_and_begins_with_what_matters(
    capfd: pytest.CaptureFixture[str],
) -> None:
    LogOutput("info", "console").log(role="dispatcher").error("job.dead", **ENDING)
    (line,) = capfd.readouterr().out.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d error job\.dead +backup 2/2 exit 3: no route", line)
    assert len(line) == 80
    assert line.endswith("…")


def test_the_text_says_in_full_what_to_do_and_leaves_out_other_fields_that_do_not_fit(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = LogOutput("info", "console").log(role="dispatcher")
    action = "end the program that holds it; " * 5
    log.warning("database.locked", action=action, waited_s=3)
    log.info("settings.applied", workers=4, db="x" * 80, log_level="info")
    locked, applied = capfd.readouterr().out.splitlines()
    assert locked.endswith(action.strip())
    assert applied.endswith("settings.applied workers=4")
