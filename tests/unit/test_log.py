"""What the service logs is safe on a terminal, in both styles."""

import json

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
