"""Becomes a `queued` of another user: python -m tests.process.as_another_user UID queued ARGS...

The service may still read our Python, and its commands may become a third user, as with sudo. It
may not signal processes of that user.
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
