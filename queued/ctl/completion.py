"""The command completion: prints the script with which a shell completes command lines."""

import os
import sys
from typing import NoReturn

from queued.core.errors import UsageError
from queued.core.suggestions import shorten
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context

SHELLS = ("bash", "zsh", "fish")
COMPLETION = (
    """\
Usage: queuectl completion [options] SHELL

Prints the script with which a shell, which is bash, zsh or fish, completes the
command lines of queuectl. A package and `make install` have installed it; after
pipx or pip, put it where the shell looks for it.
"""
    + COMMON
    + """
Examples:
  mkdir -p ~/.local/share/bash-completion/completions ~/.zfunc
  queuectl completion bash >~/.local/share/bash-completion/completions/queuectl
  queuectl completion fish >~/.config/fish/completions/queuectl.fish
  queuectl completion zsh >~/.zfunc/_queuectl
"""
)


def completion(context: Context, arguments: Arguments) -> NoReturn:  # noqa: ARG001  all commands have the same parameters
    """Replaces this process by the program that makes the script. Raises UsageError."""
    shell = arguments.text("SHELL")
    if shell not in SHELLS:
        msg = f"completion takes {', '.join(SHELLS[:-1])} or {SHELLS[-1]}, not {shorten(shell)}"
        raise UsageError(msg)
    # -P: Python does not import modules from the current directory.
    words = [sys.executable, "-P", "-m", "queued.pages.completions", shell]
    os.execv(sys.executable, words)  # noqa: S606  no shell is needed
