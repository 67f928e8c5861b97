"""No child reads a module or a statement after its fork: it could be another version's."""

import json
from pathlib import Path

from tests.service import Queue

NOTED = """
import json, os, sys
from queued.__main__ import main
from queued.store import sql_blocks

plain_fork, plain_exit = os.fork, os._exit

def fork():
    pid = plain_fork()
    if pid == 0:
        sql_blocks.read = None
        before = set(sys.modules)
        def note(code):
            with open(f"DIRECTORY/{os.getpid()}", "w") as file:
                json.dump(sorted(set(sys.modules) - before), file)
            plain_exit(code)
        os._exit = note
    return pid

os.fork = fork
main()
"""


def test_children_read_nothing_of_the_program_after_the_fork(queue: Queue, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    conf = tmp_path / "queuectl.conf"
    conf.write_text("")
    service = queue.spawn(
        "--config", str(conf), workers=2, program=("-c", NOTED.replace("DIRECTORY", str(notes)))
    ).ready()
    queue.store.queues.change("default", rate_starts=1000, rate_ms=1000)
    fails = queue.add("echo no; exit 1", backoff_jitter=0.5, max_retries=2, backoff_base=1)
    late = queue.add("sleep 60", timeout=0.1, max_retries=1)
    bad = queue.add("true", cwd="/nowhere", max_retries=1)
    cancelled = queue.add("sleep 60")
    queue.wait(cancelled, "processing")
    queue.queuectl("cancel", cancelled)
    for name in (fails, late, bad, cancelled):
        queue.wait(name)
    before = service.child(1)
    service.kill(before)
    service.replaced(1, before)
    dispatcher = service.child(0)
    service.kill(dispatcher)
    service.replaced(0, dispatcher)
    assert queue.wait(queue.add("true")).label == "completed"
    assert service.stop() == 0
    found = {path.name: json.loads(path.read_text()) for path in notes.iterdir()}
    assert len(found) >= 3
    assert all(late == [] for late in found.values()), found
