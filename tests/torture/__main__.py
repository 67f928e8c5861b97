"""`python -m tests.torture --seconds N --seed S`: N seconds of torture; exit 1 if a promise broke.

With `--engine postgres` it does so over PostgreSQL, and with `--hosts N` on so many hosts, whose
network it cuts. With `--pids N` all processes are in a namespace that has only so many pids and
reuses them all the time. With `--soak N` it runs N jobs without harm and watches memory and
descriptors. If a promise broke, the directory with the database, the jobs as text, the traces and
the logs is kept and printed.
"""

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests import postgres_server
from tests.torture.checker import check
from tests.torture.network_harm import LEASE_S
from tests.torture.soak import Soak
from tests.torture.torture import Torture, report

_FEW_PIDS = "TORTURE_HAS_FEW_PIDS"  # set in the namespace


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--hosts", type=int, default=0)
    parser.add_argument("--lease", type=float, default=LEASE_S)
    parser.add_argument("--pids", type=int, default=0)
    parser.add_argument("--soak", type=int, default=0)
    given = parser.parse_args()
    if given.pids and not os.environ.get(_FEW_PIDS):
        _enter_few_pids(given.pids)
    directory = Path(tempfile.mkdtemp(prefix="torture-", dir="/var/tmp"))
    try:
        broken = _soak(directory, given.soak) if given.soak else _torture(directory, given)
    except BaseException:
        print(f"database, traces and logs are in {directory}", file=sys.stderr)
        raise
    if broken:
        print(f"database, traces and logs are in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


def few_pids_possible() -> bool:
    """Returns whether a pid namespace may have a `pid_max` of its own; older kernels have one."""
    release = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    return os.geteuid() == 0 and release >= (6, 14)


def _enter_few_pids(pids: int) -> None:
    """Starts this program again in a namespace of so many pids."""
    if not few_pids_possible():
        sys.exit("--pids needs root, and Linux 6.14 or newer")
    script = f'echo {pids} > /proc/sys/kernel/pid_max && "$@"; exit $?'
    inside = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        script,
        "sh",
    ]
    again = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
    os.execvpe("unshare", [*inside, *again], {**os.environ, _FEW_PIDS: "1"})


def _torture(directory: Path, given: argparse.Namespace) -> list[str]:
    over_postgres = given.hosts or given.engine == "postgres"
    url = postgres_server.new_queue(postgres_server.own_server) if over_postgres else ""
    torture = Torture(directory, given.seed, url, given.hosts, given.lease)
    try:
        known = torture.run(given.seconds)
    finally:
        torture.close()
    broken = check(known)
    print(report(torture, known, broken))
    if broken:
        jobs = [f"{job}\n{known.attempts[name]}\n" for name, job in known.jobs.items()]
        (directory / "jobs").write_text("".join(jobs))
    return broken


def _soak(directory: Path, jobs: int) -> list[str]:
    soak = Soak(directory, jobs, lambda line: print(line, file=sys.stderr, flush=True))
    try:
        broken = soak.run()
        print(soak.report(broken))
    finally:
        soak.queue.close()
    return broken


if __name__ == "__main__":
    sys.exit(main())
