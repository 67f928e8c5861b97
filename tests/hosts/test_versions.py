"""Hosts of two versions on one queue: an upgrade under load, and what is outside of the range."""

import shutil
from pathlib import Path

import pytest

from queued.core.errors import Exit
from queued.store.postgres import schema
from tests.hosts.conftest import Hosts, admin
from tests.service import altered, eventually, run_python

NEXT = """
ALTER TABLE queued.jobs ADD COLUMN colour text;
CREATE INDEX jobs_colour ON queued.jobs (colour) WHERE colour IS NOT NULL;
"""
DROPS = "ALTER TABLE queued.jobs DROP COLUMN colour;"


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The migrations of a later version."""
    made = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, made)
    (made / f"{schema.latest() + 1:04}_next.sql").write_text(NEXT)
    return made


def version(migrations: Path, works_from: int, program: str) -> tuple[str, ...]:
    """Returns the words that start a program with these migrations."""
    module = "constant=queued.store.postgres.schema"
    changes = (f"{module}.MIGRATIONS={migrations}", f"{module}.WORKS_FROM={works_from}")
    return altered(*changes, program=program)


@pytest.mark.timeout(300)
def test_hosts_are_upgraded_one_by_one_under_load(hosts: Hosts, migrations: Path) -> None:
    first = schema.latest()
    count = hosts.directory / "count"
    numbers = iter(range(1000))

    def load() -> None:
        hosts.queue.add_all([f"echo {next(numbers)} >> {count}; sleep 0.05" for _ in range(40)])

    def upgrade(*program: str) -> tuple[int, str]:
        done = run_python(*program, "--db", hosts.url, "db", "upgrade")
        return done.returncode, done.stdout + done.stderr

    services = [hosts.add().serve(workers=2) for _ in range(2)]
    new = version(migrations, first, "queued")
    load()
    early = hosts.add().queue.spawn(program=new)
    assert early.ended() == Exit.CONFIG
    assert f"has schema {first}, and this program needs {first + 1}" in early.log_path.read_text()

    assert upgrade(*version(migrations, first, "queuectl"))[0] == 0
    services.append(hosts.add().queue.spawn(program=new).ready())
    for old in services[:2]:  # each is upgraded while the other ones go on
        load()
        old.stop()
        services.append(old.queue.spawn(program=new).ready())
    back = services[2]
    back.stop()
    services.append(back.queue.serve())  # and a host may go back
    load()
    hosts.queue.wait_all(160)
    assert sorted(map(int, count.read_text().split())) == [*range(160)]
    assert all(service.logged("job.completed") for service in services)
    assert "compared" in hosts.queue.queuectl("db", "check").stderr

    (migrations / f"{first + 2:04}_drops.sql").write_text(DROPS)
    drops = version(migrations, first + 1, "queuectl")
    code, told = upgrade(*drops)
    assert (code, told.count("\n")) == (Exit.CONFLICT, 1)
    assert services[-1].instance in told
    services.pop().stop()
    assert upgrade(*drops)[0] == 0
    hosts.queue.close()
    refused = hosts.queue.queuectl("list")
    assert (refused.returncode, refused.stderr.count("\n")) == (Exit.CONFIG, 1)
    assert f"has schema {first + 2}, which programs of schema {first + 1}" in refused.stderr
    assert all(service.process.poll() is None for service in services[3:])


def test_a_service_whose_tables_were_upgraded_too_far_ends(hosts: Hosts) -> None:
    """Its lease was over during the upgrade, so that it did not count as alive."""
    service = hosts.add().serve()
    admin(hosts, "UPDATE SCHEMA.meta SET schema = schema + 9, works_from = works_from + 9")
    assert service.ended() == Exit.CONFIG
    (failed,) = service.logged("service.failed")
    assert "which programs of schema 10 or newer work with" in failed["error"]
    again = service.queue.spawn()
    assert again.ended() == Exit.CONFIG
    eventually(lambda: "upgrade queued on this machine" in again.log_path.read_text())
