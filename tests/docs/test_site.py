"""The pages in docs/ are a site without a link that leads nowhere."""

import subprocess
import sys
from pathlib import Path

from tests.docs.console import PAGES, ROOT


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        made = tmp_path / "index.html" if page.stem == "index" else tmp_path / page.stem
        assert made.exists(), page
