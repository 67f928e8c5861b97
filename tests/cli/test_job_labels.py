"""Labels, note and user of a job: given, shown, listed and refused."""

import re

import pytest

from tests.cli.queuectl_runner import QueuectlRunner

pytestmark = pytest.mark.both_engines


def test_labels_and_a_note_are_shown(queuectl: QueuectlRunner) -> None:
    labels = ("--label", "customer=7", "--label", "zone=a=b")
    queuectl.ok("enqueue", "--id", "a", *labels, "--note", "for Ada", "true")
    queuectl.ok("enqueue", '{"id": "b", "command": "true"}')
    job = queuectl.json("show", "a")
    assert (job["labels"], job["options"]) == (
        {"customer": "7", "zone": "a=b"},
        {"note": "for Ada"},
    )
    assert job["submitted_by"]
    assert "labels" not in queuectl.json("show", "b")
    shown = queuectl.ok("show", "a")
    assert re.search(r"^labels +customer=7,zone=a=b$", shown, re.MULTILINE)
    assert re.search(r"^submitted by +\S+$", shown, re.MULTILINE)
    listed = queuectl.ok("list", "-o", "id,labels,note,by").splitlines()[1]
    assert re.match(r"a +customer=7,zone=a=b +for Ada +\S+$", listed)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--label", "x"], "--label takes NAME=VALUE, not 'x'"),
        (
            ["--label", "a b=x"],
            "labels takes names of 1 to 64 letters, digits, '_', '.' and '-', not \"a b\"",
        ),
        (["--note", "a\nb"], r'note takes a text of at most 1000 printable characters, not "a\nb"'),
    ],
)
def test_labels_that_are_refused(queuectl: QueuectlRunner, words: list[str], told: str) -> None:
    assert queuectl("enqueue", *words, "true") == (2, "", f"queuectl: {told}\n")
