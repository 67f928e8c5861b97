"""A database that has several names is one database by all of them."""

from contextlib import ExitStack, closing
from pathlib import Path

from tests.service import Queue


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
