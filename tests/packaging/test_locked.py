"""The locked dependencies are those of pyproject.toml, with hashes, and name no package index."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.systemd_testbed import ROOT

LOCKED = ROOT / "packaging" / "locked"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUN = [*PROJECT["project"]["dependencies"], *EXTRAS["postgres"]]
WANTED = {
    "build": PROJECT["build-system"]["requires"],
    "run": RUN,
    "dev": [*RUN, *EXTRAS["dev"]],
}


def _versions(name: str) -> dict[str, str]:
    """The version of each package in a lock."""
    text = (LOCKED / f"{name}.txt").read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)(?: ; .*)? \\$", text, re.MULTILINE))


@pytest.mark.parametrize("name", WANTED)
def test_each_dependency_is_locked_at_a_version_that_the_project_accepts(name: str) -> None:
    versions = _versions(name)
    for requirement in map(Requirement, WANTED[name]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_holds_packages_with_hashes_and_nothing_else(name: str) -> None:
    text = (LOCKED / f"{name}.txt").read_text("utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    assert "://" not in text
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [\w. ='\"]+)?( +--hash=sha256:[0-9a-f]{64})+ *", line)


def test_the_tests_run_with_what_is_installed() -> None:
    assert _versions("run").items() <= _versions("dev").items()
