"""The sdist and the wheel are what an index takes, and hold all that the programs read."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.packaging.systemd_testbed import ROOT


@pytest.mark.timeout(300)
def test_the_distributions_are_good_and_whole(tmp_path: Path) -> None:
    make = ("make", "--no-print-directory", "--old-file=.venv/.stamp", "dist", f"DIST={tmp_path}")
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("queued-*.whl")
    assert len(list(tmp_path.glob("queued-*.tar.gz"))) == 1
    packed = set(zipfile.ZipFile(wheel).namelist())
    read = [
        path for path in (ROOT / "queued").rglob("*") if path.suffix != ".pyc" and path.is_file()
    ]
    assert {str(path.relative_to(ROOT)) for path in read} <= packed
