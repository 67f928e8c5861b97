"""Makes of a claim the messages to a worker, with the settings for what the job leaves out."""

from typing import TypeVar

from queued.core.runs import Claim, Key
from queued.core.settings_in_force import Settings
from queued.core.settlement import Backoff
from queued.service.ipc import channel
from queued.service.ipc.messages import Input, Run

Number = TypeVar("Number", int, float)

_INPUT_PIECE = 128 * 1024  # bytes of a message


def checked_run(claim: Claim, settings: Settings, acks: list[Key]) -> Run:
    """Returns the message for the claim, whose expiry is by the clock of this host.

    Raises ValueError, TypeError or OverflowError if it cannot be sent.
    """
    if claim.fault is not None:
        raise ValueError(claim.fault)
    run = run_of(claim, settings, acks)
    channel.check_size(run)
    return run


def backoff_of(claim: Claim, settings: Settings) -> Backoff:
    """Returns the retry delay of the job. Values that the job lacks are those of the settings."""
    own = claim.options
    return Backoff(
        _given(own.backoff_base, settings.backoff_base),
        _given(own.backoff_max, settings.backoff_max),
        _given(own.backoff_jitter, settings.backoff_jitter),
        _given(own.defer_delay, settings.defer_delay),
    )


def run_of(claim: Claim, settings: Settings, recorded: list[Key]) -> Run:
    """Returns the message that makes a worker run the claim."""
    options = claim.options
    return Run(
        key=claim.key,
        recorded=recorded,
        id=claim.id,
        created_ms=claim.created_ms,
        queue=claim.queue,
        command=claim.command,
        max_retries=claim.max_retries,
        timeout_s=_given(options.timeout, settings.default_timeout),
        kill_grace_s=_given(options.kill_grace, settings.kill_grace),
        output_limit=_given(options.output_limit, settings.output_limit),
        clean=settings.environment == "clean",
        options=options,
        expires_ms=claim.expires_ms,
    )


def _given(own: Number | None, usual: Number) -> Number:
    return usual if own is None else own


def input_of(claim: Claim, content: bytes) -> list[Input]:
    """Returns the standard input of a claim in pieces. Raises ValueError if it is not whole."""
    size = claim.options.stdin_bytes or 0
    if len(content) != size:
        msg = f"the database has {len(content)} of the {size} bytes of its standard input"
        raise ValueError(msg)
    starts = range(0, size, _INPUT_PIECE)
    return [Input(key=claim.key, content=content[at : at + _INPUT_PIECE]) for at in starts]
