"""The power is cut at every write, and no commit that somebody was told of is lost.

One run of a desk is written down as SQLite does it to its files. Then it is cut at each event, in
each of several moods of the disk. What is left is opened: it must be, row by row, what it was
after a commit that is not older than the last one that somebody was told of.

`POWER_CUT_SEEDS` runs more of them: POWER_CUT_SEEDS=1000 pytest tests/crash/test_power_cut.py
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.connection import Database
from tests.crash.faulty_vfs import MOODS, Disk, Platter, installed
from tests.crash.in_process_dispatcher import Desk
from tests.crash.recovered_state import find, rows_of

SEEDS = range(1, 1 + int(os.environ.get("POWER_CUT_SEEDS", "4")))
STEPS = 40


class Recording:
    """A run, with what it was like after each commit."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.states: list[str] = []
        directory.mkdir(mode=0o700)
        self._path = str(directory / "queue.db")
        with installed() as disk:
            disk.careless = True
            self._disk = disk
            SqliteStore(self._path).close()
            self._committed(durable=True)
            desk = Desk(self._path, seed, self._committed)
            for _ in range(STEPS):
                desk.step()
            desk.close()
        self.events = disk.events

    def _committed(self, durable: bool) -> None:  # noqa: FBT001
        connection = apsw.Connection(self._path)
        self.states.append(rows_of(connection))
        connection.close()
        changed = self.states[-1] not in self.states[-2:-1]
        self._disk.note((len(self.states) - 1, durable and changed))


def _cut_everywhere(directory: Path, seed: int, *, each: int = 1) -> list[str]:
    """What was wrong after which cuts; all of them are made."""
    recording = Recording(directory / "run", seed)
    dice = random.Random(seed)
    platter = Platter()
    told = reached = 0
    wrong = []
    for number, event in enumerate(recording.events):
        if event.kind == "note":
            reached, durable = event.note
            told = reached if durable else told
        else:
            platter.play(event)
        if number % each:
            continue
        mood = dice.choice(MOODS)
        left = platter.cut(dice, mood)
        allowed = recording.states[told : reached + 2]
        found = find(directory / "left", left)
        if found not in allowed:
            wrong.append(f"seed {seed} event {number} {mood}: {found}")
    return wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    assert _cut_everywhere(tmp_path, seed) == []


def _never(self: Database, *, full: bool) -> None:
    self._connection.execute("PRAGMA synchronous = OFF")


def _half(self: Database, *, full: bool) -> None:
    self._connection.execute("PRAGMA synchronous = NORMAL")


@pytest.mark.parametrize("careless", [_never, _half])
def test_less_syncing_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, careless: Callable[..., None]
) -> None:
    monkeypatch.setattr(Database, "_make_durable", careless)
    assert _cut_everywhere(tmp_path, 1, each=3)


def test_a_disk_keeps_what_was_synced_and_no_more_is_sure() -> None:
    with installed() as disk:
        assert isinstance(disk, Disk)
    platter = Platter()
    found = {tuple(sorted(platter.cut(random.Random(n), "torn"))) for n in range(9)}
    assert found == {()}
