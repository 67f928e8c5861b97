"""Which command is a hook of an ended job, and what its job is told about its parent."""

from typing import Any

import pytest

from queued.core.field_checks import MAX_COMMAND_BYTES, MAX_ENV_BYTES
from queued.core.hooks import hook_command, hook_job
from queued.core.job_options import JobOptions
from queued.core.job_spec import new_job, stored_options
from queued.core.model import Outcome, State
from queued.core.runs import Claim, Ending, Key
from queued.core.settings import MAX_HOOK_BYTES
from queued.core.settlement import Backoff, describe, judge
from queued.service.dispatcher.run_message import run_of
from queued.service.ipc import channel
from tests.claims import make_claim
from tests.default_settings import DEFAULTS

USUAL = DEFAULTS._replace(on_dead="mail", on_completed="ping")
FAILED = Ending(Outcome.EXIT, exit_code=9, tail=b"no \xff luck\n")


def _claim(**changes: Any) -> Claim:
    return make_claim(**{"key": Key(1, 5, 99), "command": "false", "attempts": 2, **changes})


@pytest.mark.parametrize(
    ("options", "state", "command"),
    [
        (JobOptions(), State.DEAD, "mail"),
        (JobOptions(), State.COMPLETED, "ping"),
        (JobOptions(), State.CANCELLED, ""),
        (JobOptions(), State.PENDING, ""),
        (JobOptions(on_dead="own"), State.DEAD, "own"),
        (JobOptions(on_dead="own"), State.COMPLETED, "ping"),
        (JobOptions(on_completed="own"), State.COMPLETED, "own"),
        (JobOptions(on_dead=""), State.DEAD, ""),
        (JobOptions(on_dead="own"), State.CANCELLED, ""),
        (JobOptions(on_dead=" \n"), State.DEAD, ""),
    ],
)
def test_the_field_of_the_job_beats_the_setting(
    options: JobOptions, state: State, command: str
) -> None:
    assert hook_command(_claim(options=options), state, USUAL) == command


def test_a_hook_job_knows_its_parent_and_has_no_hooks() -> None:
    verdict = judge(_claim(), FAILED, Backoff(2, 60, 0, 30), now_ms=0)
    job = hook_job("mail", _claim(), FAILED, verdict)
    assert (job.command, job.queue, job.id) == ("mail", "q", None)
    options = stored_options(job.options)
    assert options.env == {
        "QUEUED_PARENT_ID": "a",
        "QUEUED_PARENT_COMMAND": "false",
        "QUEUED_PARENT_STATE": "dead",
        "QUEUED_PARENT_OUTCOME": "exit",
        "QUEUED_PARENT_EXIT_CODE": "9",
        "QUEUED_PARENT_ERROR": "exit 9: no \N{REPLACEMENT CHARACTER} luck",
        "QUEUED_PARENT_ATTEMPTS": "3",
        "QUEUED_PARENT_RUNS": "5",
    }
    hook = _claim(options=options)
    assert [hook_command(hook, state, USUAL) for state in State] == [""] * len(State)


def test_a_hook_job_can_run_whatever_its_parent_is() -> None:
    """Its parent may have the longest command, and a row that another program made invalid."""
    long = "\N{PILE OF POO}" * (MAX_COMMAND_BYTES // 4)
    parent = _claim(id="a\0b", queue="q" * 65, command=long, fault="odd")
    ending = Ending(Outcome.SPAWN_ERROR, error="\0" + long)
    verdict = judge(parent, ending, Backoff(2, 60, 0, 30), now_ms=0)
    assert verdict.error == describe(ending)
    job = hook_job("x", parent, ending, verdict)
    options = stored_options(job.options)
    assert job.queue == "default"
    assert options.env is not None
    assert options.env["QUEUED_PARENT_ID"] == "a\N{REPLACEMENT CHARACTER}b"
    assert options.env["QUEUED_PARENT_EXIT_CODE"] == ""
    assert {len(options.env[f"QUEUED_PARENT_{name}"]) for name in ("COMMAND", "ERROR")} == {1000}


def test_a_job_with_the_longest_fields_and_hooks_fits_into_one_message() -> None:
    job = new_job(
        {
            "command": "x" * MAX_COMMAND_BYTES,
            "env": {"A": "x" * (MAX_ENV_BYTES - 3)},
            "cwd": "/" * 4095,
            "on_dead": "x" * MAX_HOOK_BYTES,
            "on_completed": "x" * MAX_HOOK_BYTES,
        }
    )
    claim = _claim(command=job.command, options=stored_options(job.options))
    channel.check_size(run_of(claim, USUAL, []))
