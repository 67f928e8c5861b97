"""Becomes a `queued` of another user: python -m tests.process.as_another_user UID queued ARGS...

It may still read our Python, wherever that is, and its commands may become yet another user, as
with sudo. It may not signal what has become another user's.
"""

import os
import sys


def main() -> None:
    """See the module."""
    _, user, *words = sys.argv
    rights = "+dac_override,+setuid"
    os.execvp(
        "setpriv",
        [
            "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
            f"--inh-caps={rights}", f"--ambient-caps={rights}",
            sys.executable, "-m", *words,
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
