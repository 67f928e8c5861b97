"""logs: the bytes, the gaps, the last lines, and following to the end."""

import base64
import json

import pytest

from queued.core.model import Outcome, State
from queued.core.runs import Ending
from queued.core.settlement import Settlement, Verdict
from tests.cli.queuectl_runner import QueuectlRunner, failed
from tests.service import eventually


def test_bytes_of_the_last_attempt(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    raw = bytes(range(256)) + b"\r\n\0end"
    queuectl.prints(claim, raw[:100])
    queuectl.prints(claim, raw[100:], position=100)
    queuectl.end(claim, Ending(Outcome.EXIT, exit_code=0, stdout_bytes=len(raw)))
    done = queuectl.start("logs", "a")
    assert done.communicate(timeout=10) == (raw, b"")
    assert done.returncode == 0


def test_streams_apart(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", split=True)
    claim = queuectl.claim()
    queuectl.prints(claim, b"out\n")
    queuectl.prints(claim, b"err\n", stream=2)
    assert queuectl.ok("logs", "a") == "out\nerr\n"
    assert queuectl.ok("logs", "a", "--stdout") == "out\n"
    assert queuectl.ok("logs", "--stderr", "a") == "err\n"
    assert queuectl("logs", "a", "--stderr", "--stdout").code == 2


def test_attempts(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", max_retries=1)
    for text in (b"first\n", b"second\n"):
        claim = queuectl.claim()
        queuectl.prints(claim, text)
        queuectl.end(claim, failed(1))
        queuectl.ok("dlq", "retry", "a")
    assert queuectl.ok("logs", "a") == "second\n"
    assert queuectl.ok("logs", "a", "--attempt", "1") == "first\n"
    done = queuectl("logs", "a", "--attempt", "3")
    assert done == (3, "", "queuectl: a has no run 3; its runs: 2\n")


def test_not_run_yet(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl("logs", "a") == (1, "", "queuectl: a has not run yet\n")


def _gap(queuectl: QueuectlRunner, head: bytes, tail: bytes, printed: int) -> None:
    """A job `a` that printed so many bytes, of which these were kept: at 0 and at 1000."""
    queuectl.add("a")
    claim = queuectl.claim()
    queuectl.prints(claim, head)
    queuectl.prints(claim, tail, position=1000)
    queuectl.end(claim, Ending(Outcome.EXIT, exit_code=0, stdout_bytes=printed))


def test_gaps_are_announced(queuectl: QueuectlRunner) -> None:
    _gap(queuectl, b"head\n", b"tail\n", 1105)
    done = queuectl("logs", "a")
    assert (done.code, done.out) == (0, "head\ntail\n")
    assert done.err == (
        "queuectl: 995 bytes of stdout were not kept\nqueuectl: 100 bytes of stdout were not kept\n"
    )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        ("0", ""),
        ("1", "unended"),
        ("2", "four\nunended"),
        ("3", "three\nfour\nunended"),
        ("9", "one\ntwo\nthree\nfour\nunended"),
    ],
)
def test_last_lines(queuectl: QueuectlRunner, count: str, shown: str) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    text, position = "one\ntwo\nthree\nfour\nunended", 0
    for piece in (text[:6], text[6:7], text[7:16], text[16:]):
        queuectl.prints(claim, piece.encode(), position=position)
        position += len(piece)
    assert queuectl.ok("logs", "a", "--tail", count) == shown


def test_last_lines_that_are_ended(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl.prints(queuectl.claim(), b"one\ntwo\n")
    assert queuectl.ok("logs", "a", "--tail", "1") == "two\n"
    assert queuectl("logs", "a", "--tail", "-1").code == 2


def test_json_lines(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    queuectl.prints(claim, "ü\n".encode())
    queuectl.prints(claim, b"\xff", position=3)
    records = [json.loads(line) for line in queuectl.ok("logs", "a", "--json").splitlines()]
    place = {"id": "a", "attempt": 1, "stream": "stdout"}
    assert records == [
        {**place, "position": 0, "text": "ü\n"},
        {**place, "position": 3, "base64": base64.b64encode(b"\xff").decode()},
    ]


def test_follow_across_retries(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", max_retries=2, backoff_base=1)
    process = queuectl.start("logs", "--follow", "a")
    assert process.stdout
    eventually(lambda: queuectl.is_waiting(process))
    claim = queuectl.claim()
    queuectl.prints(claim, b"one\n")
    assert process.stdout.readline() == b"one\n"
    queuectl.prints(claim, b"one\ntwo\n")  # the same piece has grown
    assert process.stdout.readline() == b"two\n"
    with queuectl.ledger.transaction():
        again = Settlement(claim, failed(1), _again(claim.due_ms))
        queuectl.ledger.settle([again], now_ms=claim.claimed_ms)
    claim = queuectl.claim()
    queuectl.prints(claim, b"three\n")
    queuectl.end(claim, failed(5))
    assert process.stdout.read() == b"three\n"
    assert process.wait(10) == 5


def _again(due_ms: int) -> Verdict:
    return Verdict(State.PENDING, 1, due_ms, "exit 1")


def test_follow_of_an_ended_job_ends(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", max_retries=1)
    claim = queuectl.claim()
    queuectl.prints(claim, b"1\n2\n3\n")
    queuectl.end(claim, Ending(Outcome.SIGNAL, signal="SIGTERM"))
    assert queuectl("logs", "--follow", "--tail", "2", "a") == (143, "2\n3\n", "")


GAP = "queuectl: 996 bytes of stdout were not kept\n"


@pytest.fixture
def gapped(queuectl: QueuectlRunner) -> QueuectlRunner:
    """A job `a` of which the middle was not kept."""
    _gap(queuectl, b"1\n2\n", b"8\n9\n", 1004)
    return queuectl


@pytest.mark.parametrize("follow", [(), ("--follow",)], ids=["", "follow"])
@pytest.mark.parametrize(
    ("count", "shown", "told"),
    [("0", "", ""), ("1", "9\n", ""), ("2", "8\n9\n", ""), ("3", "2\n8\n9\n", GAP)],
)
def test_a_gap_is_announced_between_the_lines_that_are_shown(
    gapped: QueuectlRunner, count: str, shown: str, told: str, follow: tuple[str, ...]
) -> None:
    assert gapped("logs", *follow, "--tail", count, "a") == (0, shown, told)


@pytest.mark.parametrize("count", ["0", "1"])
def test_follow_after_the_last_lines_prints_what_is_new(
    queuectl: QueuectlRunner, count: str
) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    queuectl.prints(claim, b"one\ntwo\n")
    process = queuectl.start("logs", "--follow", "--tail", count, "a")
    eventually(lambda: queuectl.is_waiting(process))
    queuectl.prints(claim, b"one\ntwo\nthree\n")  # the same piece has grown
    queuectl.prints(claim, b"four\n", position=14)
    queuectl.end(claim, Ending(Outcome.EXIT, exit_code=0, stdout_bytes=19))
    out, err = process.communicate(timeout=10)
    assert (out, err) == (b"two\n" * int(count) + b"three\nfour\n", b"")


def test_control_characters_are_escaped_on_a_terminal_only(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    queuectl.prints(claim, b"\x1b[2J\tbell\x07 \xff \xc3")
    queuectl.prints(claim, b"\xa4\n", position=14)
    queuectl.end(claim)
    escaped = b"\\x1b[2J\tbell\\x07 \\xff \xc3\xa4\n"
    raw = b"\x1b[2J\tbell\x07 \xff \xc3\xa4\n"
    assert queuectl.on_terminal("logs", "a").out == escaped
    assert queuectl.on_terminal("logs", "--raw", "a").out == raw
    process = queuectl.start("logs", "a")
    assert process.communicate(timeout=10)[0] == raw


def test_the_output_of_several_jobs(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", queue="q", command="echo x")
    claim = queuectl.claim()
    queuectl.prints(claim, b"one\ntwo")
    queuectl.end(claim)
    queuectl.add("b", queue="q", command="echo '\x1b[1m'")
    queuectl.add("c")
    first, second = "==> a completed: echo x\n", "==> b pending: echo '\\x1b[1m'\n"
    assert queuectl.ok("logs", "--queue", "q") == f"{first}one\ntwo\n{second}"
    assert queuectl.ok("logs", "b", "a", "--tail", "1") == f"{second}{first}two\n"
    assert queuectl.ok("logs", "--state", "completed,pending").startswith(f"{first}one\ntwo\n==> b")
    assert [
        json.loads(line)["id"] for line in queuectl.ok("logs", "--all", "--json").splitlines()
    ] == ["a"]
    for words in (["a", "b", "-f"], ["--all", "--attempt", "1"]):
        assert queuectl("logs", *words).err.endswith(" is for one job\n")
    assert queuectl("logs").code == queuectl("logs", "a", "--all").code == 2


def test_each_line_has_the_id_of_its_job(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    queuectl.prints(claim, b"one\ntw")
    queuectl.prints(claim, b"o\n\nthree", position=6)
    queuectl.add("b")
    queuectl.prints(queuectl.claim(worker=2), b"four\n")
    tagged = "a\tone\na\ttwo\na\t\na\tthree\n"
    assert queuectl.ok("logs", "--all", "--tag") == f"{tagged}b\tfour\n"
    assert queuectl.ok("logs", "a", "--tag") == tagged.removesuffix("\n")


def test_the_lines_between_the_outputs_have_colours(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    shown = queuectl.ok("logs", "--all", "--color", "always")
    assert shown == "==> a \x1b[32mcompleted\x1b[m: true\n"
    assert "\x1b" not in queuectl.ok("logs", "--all")


def test_a_filter_that_finds_no_job_says_so(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl("logs", "--queue", "nope") == (0, "", "no jobs\n")
