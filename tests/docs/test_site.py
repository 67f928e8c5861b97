"""The pages in docs/ are a site without a link that leads nowhere."""

from pathlib import Path

from tests.docs.console import PAGES, ROOT
from tests.service import run_python


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = run_python("-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        made = tmp_path / "index.html" if page.stem == "index" else tmp_path / page.stem
        assert made.exists(), page
