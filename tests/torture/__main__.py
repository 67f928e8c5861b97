"""`python -m tests.torture --seconds N --seed S`: torture for so long; exit 1 if a promise broke.

What it leaves behind when a promise broke (the database, the traces, the logs) is named.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.torture.checker import check
from tests.torture.torture import Torture, report


def main() -> int:
    """Its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="torture-"))
    torture = Torture(directory, given.seed)
    try:
        known = torture.run(given.seconds)
    except BaseException:
        print(f"it is all in {directory}", file=sys.stderr)
        raise
    finally:
        torture.queue.close()
    broken = check(known)
    print(report(torture, known, broken))
    if broken:
        print(f"it is all in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
