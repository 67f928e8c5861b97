"""The standard input of a job, as its runs read it."""

import pytest

from tests.process.foreign_sql import sql
from tests.service import Queue

pytestmark = pytest.mark.both_engines
LARGE = bytes(range(256)) * 4096  # 1 MiB, more than a pipe or a message holds


def test_each_run_gets_the_whole_input(served: Queue) -> None:
    """Also one that reads slowly, or begins while its worker still runs another job."""
    name = served.add(
        "sleep 0.2; cksum; exit $((QUEUED_ATTEMPT < 2))", stdin=LARGE, backoff_max=0, cwd="/"
    )
    short = served.add_all(["cat"] * 40, stdin="ein Wört\n", limits={"files": 50})
    assert served.wait(name).label == "completed"
    assert served.output(name, attempt=1) == served.output(name, attempt=2) != b""
    assert served.output(name).split()[1] == b"%d" % len(LARGE)
    for one in short:
        served.wait(one)
        assert served.output(one) == "ein Wört\n".encode()


def test_a_job_whose_input_another_program_has_removed_does_not_run(queue: Queue) -> None:
    name = queue.add("cat", stdin="text")
    sql(queue, "DELETE FROM inputs")
    queue.serve()
    assert queue.wait(name).label == "dead"
    assert "the database has 0 of the 4 bytes of its standard input" in str(
        queue.job(name).last_error
    )


def test_without_input_nothing_can_be_read(served: Queue) -> None:
    name = served.add("readlink /proc/self/fd/0; cat", stdin="")
    served.wait(name)
    assert served.output(name) == b"/dev/null\n"


def test_queuectl_reads_a_file_or_its_own_input(served: Queue) -> None:
    path = served.file("input")
    path.write_bytes(LARGE)
    for words, given in (
        (["--stdin", str(path)], None),
        (["--stdin", "-"], LARGE.decode("latin1")),
    ):
        options = {} if given is None else {"input": given, "encoding": "latin1"}
        done = served.queuectl("enqueue", *words, "--wait", "cksum", **options)
        assert done.returncode == 0
        assert done.stdout.split()[1] == str(len(LARGE))
    path.write_bytes(LARGE + b"x")
    refused = served.queuectl("enqueue", "--stdin", str(path), "cat")
    told = "queuectl: stdin has more than 1048576 bytes; give the path of a file to the command\n"
    assert (refused.returncode, refused.stderr) == (2, told)
    gone = served.queuectl("enqueue", "--stdin", str(path) + "x", "cat")
    assert gone.returncode == 2
    assert "No such file or directory" in gone.stderr
