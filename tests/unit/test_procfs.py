"""Signals to processes whose pids were reused."""

import signal
import threading

from queued.service.linux import procfs
from queued.service.linux.procfs import Process


def test_a_pid_that_a_thread_has_now_is_not_signalled() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        gone = Process(thread.native_id, 1, 1, 1, started=1, dead=False)
        assert not procfs.send_signal(gone, signal.SIGKILL)
    finally:
        end.set()
        thread.join()
