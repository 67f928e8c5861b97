"""Under supervisord: drain when it dies, for nobody else would ever stop us then.

systemd needs no such thing, and a terminal or a detached service must not have it.
"""

import os
import signal
from collections.abc import Mapping

from queued.service.linux import libc

_PR_SET_PDEATHSIG = 1


def die_with_supervisord(environment: Mapping[str, str]) -> None:
    """Has the kernel send us TERM when the supervisord that started us is gone."""
    if "SUPERVISOR_ENABLED" not in environment:
        return
    before = os.getppid()
    libc.C.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != before:  # it died just now
        signal.raise_signal(signal.SIGTERM)
