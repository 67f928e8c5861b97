"""`queuectl`: runs a command line without the parts of Python's start and end that cost time."""

import gc
import os


def program() -> None:
    """Runs the command line of this process and exits; Ctrl+C prints no traceback at any time."""
    gc.disable()  # collections are a tenth of the time, and a command's garbage is bounded
    try:
        from queued.ctl.command_line import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    os._exit(code)  # without Python's own clean-up, which takes 2 ms


if __name__ == "__main__":
    program()
