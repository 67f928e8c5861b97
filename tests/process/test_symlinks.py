"""A database that has several names is one database by all of them."""

import os
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.service import Queue

pytestmark = pytest.mark.sqlite_only


def test_a_service_is_seen_and_stopped_by_every_name_of_its_database(tmp_path: Path) -> None:
    for name in ("state", "logs"):
        (tmp_path / name).mkdir(mode=0o700)
    path = tmp_path / "state" / "queue.db"
    (tmp_path / "file.db").symlink_to(path)
    (tmp_path / "link").symlink_to("state")
    names = ("state/queue.db", "file.db", "link/queue.db")
    with ExitStack() as stack:
        queues = [Queue(tmp_path / "logs", str(tmp_path / name)) for name in names]
        real, file, directory = (stack.enter_context(closing(queue)) for queue in queues)
        copy = str(tmp_path / "copy.db")
        assert real.queuectl("db", "backup", copy).returncode == 0
        for served, asked in ((real, file), (file, directory), (directory, real)):
            service = served.serve(workers=1)
            refused = asked.queuectl("db", "restore", copy)
            assert refused.returncode == 75
            assert f"a service runs on {path} ({service.instance})" in refused.stderr
            assert asked.queuectl("worker", "stop").returncode == 0
            assert service.ended() == 0
        assert not list(tmp_path.glob("*.db?*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_database_that_is_mounted_without_its_directory_is_refused(queue: Queue) -> None:
    """Its WAL would be another than that of the programs that have the directory."""
    inside = queue.directory / "inside"
    inside.mkdir(mode=0o700)
    mounted = inside / "queue.db"
    mounted.touch(0o600)
    queue.serve()
    queue.wait(queue.add("true"))
    script = f"mount --bind {queue.path} {mounted} && exec {sys.executable} -m $0 --db {mounted} $*"
    for words in ("queued", "queued.ctl enqueue true", "queued.ctl db check"):
        line = ["unshare", "--mount", "sh", "-c", script, *words.split()]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 78
        assert f"{mounted} is mounted by itself, without its -wal; mount its dir" in done.stderr
    script = script.replace(queue.path, str(queue.directory)).replace(str(mounted), str(inside), 1)
    line = ["unshare", "--mount", "sh", "-c", script, "queued.ctl", "list"]
    assert subprocess.run(line, capture_output=True, timeout=60, check=True).stdout
    assert os.listdir(inside) == ["queue.db"]
