"""Hooks: the commands `on_dead` and `on_completed`, each enqueued as a job when another job ends.

A hook job has no hooks itself, so that a hook that fails does not start another one.
"""

from queued.core.errors import UsageError
from queued.core.field_checks import word
from queued.core.job_spec import options_text
from queued.core.model import NewJob, State
from queued.core.runs import Claim, Ending
from queued.core.settings_in_force import Settings
from queued.core.settlement import Verdict

_MAX_TEXT = 1000  # characters of a variable, so that all of them fit into an environment


def hook_command(claim: Claim, state: State, settings: Settings) -> str:
    """Returns the hook's command for a job that is now in `state`; an empty text if it has none.

    A field of the job takes precedence over the setting, also if it is empty.
    """
    if state is State.DEAD:
        own, usual = claim.options.on_dead, settings.on_dead
    elif state is State.COMPLETED:
        own, usual = claim.options.on_completed, settings.on_completed
    else:
        return ""
    return (usual if own is None else own).strip()


def hook_job(command: str, claim: Claim, ending: Ending, verdict: Verdict) -> NewJob:
    """Returns the job that runs `command` in the queue of its parent, the job of the claim.

    Its environment describes the parent.
    """
    parent = {
        "ID": claim.id,
        "COMMAND": claim.command,
        "STATE": verdict.state,
        "OUTCOME": ending.outcome,
        "EXIT_CODE": "" if ending.exit_code is None else str(ending.exit_code),
        "ERROR": verdict.error or "",
        "ATTEMPTS": str(claim.attempts + verdict.counted),
        "RUNS": str(claim.key.attempt),
    }
    env = {f"QUEUED_PARENT_{name}": _bounded(text) for name, text in parent.items()}
    options = options_text({"env": env, "on_completed": "", "on_dead": ""})
    return NewJob(command, queue=_queue(claim), options=options)


def _bounded(text: str) -> str:
    """Returns the beginning of `text` as the value of a variable, which cannot contain NUL."""
    cut = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return cut.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _queue(claim: Claim) -> str:
    """Returns the queue of the parent; the default one if another program made its name invalid."""
    try:
        return word("queue", claim.queue)
    except UsageError:
        return "default"
