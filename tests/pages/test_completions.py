"""Completion in the real shells: each is given a line and says what may follow."""

import os
import pty
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from queued.core.settings import SETTINGS
from queued.ctl.command_line import COMMANDS, usage_of
from queued.ctl.job_columns import COLUMNS
from queued.pages import completions
from tests.cli.queuectl_runner import QueuectlRunner, failed
from tests.service import eventually, install_programs, run_program

# Splits the line as readline does, calls the function that `complete` names, prints its answer.
BASH = r"""
source "$1"
for COMP_LINE in "${@:2}"; do
    COMP_POINT=${#COMP_LINE}
    mapfile -t COMP_WORDS < <(python3 -c '
import re, sys
for word in re.findall(r"[=:]+|[^\s=:]+", sys.argv[1]): print(word)' "$COMP_LINE")
    [[ $COMP_LINE != *" " ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    read -ra spec < <(complete -p "${COMP_WORDS[0]}")
    "${spec[2]}" "${COMP_WORDS[0]}"
    printf '%s\n' "${COMPREPLY[@]}" -
done
"""
# Each match that is added goes to a file, and Ctrl+X after a TAB says that it has been answered.
ZSHRC = r"""
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit
compinit -u -d $ZDOTDIR/dump
setopt no_auto_list no_auto_menu no_beep
compadd() {
  local -a hits
  if [[ " $* " != *" -"[AOD]" "* ]]; then
    builtin compadd -O hits "$@"
    print -rl -- $hits >>$ZDOTDIR/found
  fi
  builtin compadd "$@"
}
answered() { print -r -- - >>$ZDOTDIR/found; BUFFER= }
zle -N answered
bindkey '^X' answered
bindkey '^I' complete-word
print ready >$ZDOTDIR/ready
"""
FISH = 'source $argv[1]; for line in $argv[2..]; complete -C "$line"; echo -; end'


@pytest.fixture
def programs(queuectl: QueuectlRunner) -> dict[str, str]:
    """The environment of a shell that finds both programs."""
    place = queuectl.directory / "bin"
    install_programs(place)
    return {**queuectl.env(), "PATH": f"{place}:{os.environ['PATH']}", "HOME": str(place)}


@pytest.fixture
def filled(queuectl: QueuectlRunner) -> QueuectlRunner:
    """A queue with a pending, a completed, a dead job and a stored setting."""
    queuectl.run("done:1", queue="mail")
    queuectl.run("dead1", ending=failed(), max_retries=1)
    queuectl.add("next1", queue="print")
    queuectl.ok("config", "set", "workers", "2")
    return queuectl


Found = list[set[str]]
Ask = Callable[..., Found]


def _answers(text: str) -> Found:
    """The words for each line; a line with one hyphen ends them."""
    found: Found = [set()]
    for word in text.splitlines():
        if word == "-":
            found.append(set())
        elif word:
            found[-1].add(word)
    return found[:-1]


@pytest.fixture(params=["bash", "zsh", "fish"])
def ask(request: pytest.FixtureRequest, programs: dict[str, str], tmp_path: Path) -> Ask:
    """Asks a shell what may follow each of some lines."""
    shell = str(request.param)
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = tmp_path / "script"
    script.write_text(completions.SHELLS[shell]())
    if shell == "zsh":
        return lambda *lines: _zsh(script, programs, lines)
    start = {"bash": ["bash", "--norc", "-c", BASH, "bash"], "fish": ["fish", "-N", "-c", FISH]}

    def run(*lines: str) -> Found:
        done = run_program(*start[shell], script, *lines, env=programs, cwd=tmp_path, check=True)
        assert done.stderr == ""
        cut = "\t" if shell == "fish" else "\0"  # fish shows a description beside a word
        return _answers("\n".join(line.partition(cut)[0] for line in done.stdout.split("\n")))

    return run


def _zsh(script: Path, environment: dict[str, str], lines: Sequence[str]) -> Found:
    """Types each line and a TAB into an interactive zsh."""
    place = script.parent / "zsh"
    place.mkdir(exist_ok=True)
    script.rename(place / "_queuectl") if script.exists() else None
    (place / ".zshrc").write_text(ZSHRC)
    found, ready = place / "found", place / "ready"
    found.write_text("\n")
    ready.unlink(missing_ok=True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(script.parent)
        os.execvpe("zsh", ["zsh", "-i"], {**environment, "ZDOTDIR": str(place), "TERM": "dumb"})
    try:
        eventually(ready.exists, "zsh")
        for count, line in enumerate(lines, 1):
            os.write(terminal, f"{line}\t\x18".encode())
            eventually(lambda n=count: len(_answers(found.read_text())) == n, line)  # type: ignore[misc]
        return _answers(found.read_text())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_commands_and_their_options(ask: Ask) -> None:
    top, group, options, leading = ask(
        "queuectl ", "queuectl dlq ", "queuectl dlq list --", "queuectl --db x.db dlq re"
    )
    assert top == {*(words.split()[0] for words in COMMANDS), "help"}
    assert group == {"list", "retry", "purge"}
    assert {"--queue", "--limit", "--json", "--db"} <= options
    assert "--follow" not in options
    assert leading == {"retry"}


def test_words_from_the_database(ask: Ask, filled: QueuectlRunner) -> None:
    lines = (
        "queuectl show ",
        "queuectl show --json d",
        "queuectl wait next1 de",
        "queuectl cancel ",
        "queuectl dlq retry ",
        "queuectl list --queue ",
        "queuectl list --queue=m",
        "queuectl config unset ",
        "queuectl show done:",
    )
    shown, begun, second, live, dead, queues, equals, stored, colon = ask(*lines)
    assert shown == {"done:1", "dead1", "next1"}
    assert begun == {"done:1", "dead1"}
    assert second == {"dead1"}
    assert live == {"next1"}
    assert dead == {"dead1"}
    assert queues == {"default", "mail", "print"}
    assert {word.removeprefix("--queue=") for word in equals} == {"mail"}
    assert stored == {"workers"}
    assert colon <= {"1", "done:1"}
    assert colon


def test_words_from_the_programs(ask: Ask) -> None:
    states, settings, levels, formats = ask(
        "queuectl list --state ",
        "queuectl config get ",
        "queued --log-level ",
        "queuectl dlq list --output ",
    )
    assert states == {
        "pending",
        "scheduled",
        "held",
        "blocked",
        "failed",
        "processing",
        "completed",
        "dead",
        "cancelled",
    }
    assert settings == set(SETTINGS)
    assert levels == set(SETTINGS["log_level"].choices)
    assert formats == {"json", "jsonl", "tsv", *COLUMNS}


def test_another_database_on_the_line(ask: Ask, queuectl: QueuectlRunner) -> None:
    queuectl.ok("--db", "other.db", "enqueue", '{"id":"elsewhere","command":"true"}')
    before, after, absent = ask(
        "queuectl --db other.db show ",
        "queuectl show --db=other.db ",
        "queuectl --db none.db show ",
    )
    assert before == after == {"elsewhere"}
    assert absent == set()
    assert not (queuectl.directory / "none.db").exists()


def test_every_option_of_every_command_is_offered(ask: Ask) -> None:
    offered = ask(*(f"queuectl {words} --" for words in COMMANDS))
    for words, found in zip(COMMANDS, offered, strict=True):
        long = set(re.findall(r"(?m)^  (?:-\w, )?(--[\w-]+)", usage_of(words)))
        assert long <= {word.rstrip("=") for word in found}, words


def test_no_option_takes_a_value_in_one_command_only() -> None:
    known = [*completions.commands(), completions.service_program()]
    takes = {
        (name, bool(o.value)) for command in known for o in command.options for name in o.names
    }
    assert len(takes) == len({name for name, _ in takes})


@pytest.mark.parametrize("words", [["show"], ["nothing", "x"], []])
def test_an_unknown_kind_is_refused_in_silence(queuectl: QueuectlRunner, words: list[str]) -> None:
    assert queuectl("complete", *words) == (2, "", "")


@pytest.mark.parametrize("kind", ["jobs", "live-jobs", "dead-jobs", "queues", "stored"])
def test_without_a_usable_database_it_is_silent(queuectl: QueuectlRunner, kind: str) -> None:
    assert queuectl("complete", kind) == (0, "", "")
    assert not queuectl.database.exists()
    queuectl.database.write_bytes(b"no database" * 500)
    before = queuectl.database.read_bytes()
    assert queuectl("complete", kind) == (0, "", "")
    assert queuectl("--config", "/nowhere", "complete", kind) == (0, "", "")
    assert queuectl.database.read_bytes() == before


def test_completion_changes_nothing(filled: QueuectlRunner) -> None:
    before = filled.dump()
    assert set(filled.ok("complete", "jobs").split()) == {"done:1", "dead1", "next1"}
    assert filled.dump() == before


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_the_script_is_printed(queuectl: QueuectlRunner, shell: str) -> None:
    assert queuectl("completion", shell) == (0, completions.SHELLS[shell](), "")


def test_another_shell_is_refused(queuectl: QueuectlRunner) -> None:
    told = "queuectl: completion takes bash, zsh or fish, not 'tcsh'\n"
    assert queuectl("completion", "tcsh") == (2, "", told)
