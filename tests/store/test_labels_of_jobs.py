"""Labels and the user of a job, as they are stored."""

import os
import pwd

from tests.store.engine import Engine


def test_labels_and_the_user_are_kept(engine: Engine) -> None:
    row = engine.add(labels='{"customer": "7", "é": "ü"}', options='{"note": "n"}')
    job = engine.store.show(row)
    assert job.labels == {"customer": "7", "é": "ü"}
    assert job.options.note == "n"
    assert engine.store.show(engine.add()).labels is None
    if engine.host_clock:  # a file
        assert job.submitted_by == pwd.getpwuid(os.getuid()).pw_name
