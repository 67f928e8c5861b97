"""A running service notices that its database was upgraded under it, and stops in time."""

import sqlite3

from tests.service import Queue


def test_a_service_of_an_older_version_stops(queue: Queue) -> None:
    service = queue.serve()
    connection = sqlite3.connect(queue.path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    assert service.ended() == 78
    (line,) = service.logged("service.failed")
    assert "has schema 99 now" in str(line)
    assert not service.descendants()
    done = queue.queuectl("list")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "has schema 99, newer than the" in done.stderr
