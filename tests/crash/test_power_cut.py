"""A power cut at any write loses no commit that was acknowledged.

All changes that a run of a dispatcher makes to its files are recorded. Then the power is cut after
each of them, with one of several choices of what survives. The database that SQLite recovers must
equal, row by row, the one after some commit that is no older than the last acknowledged one.

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
from tests.crash.faulty_vfs import SURVIVALS, DiskModel, installed
from tests.crash.in_process_dispatcher import InProcessDispatcher
from tests.crash.recovered_state import recover, rows_of

SEEDS = range(1, 1 + int(os.environ.get("POWER_CUT_SEEDS", "4")))
STEPS = 40


class Recording:
    """A run, with what it was like after each commit."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.states: list[str] = []
        directory.mkdir(mode=0o700)
        self._path = str(directory / "queue.db")
        with installed() as disk:
            disk.skips_syncs = True
            self._disk = disk
            SqliteStore(self._path).close()
            self._committed(durable=True)
            dispatcher = InProcessDispatcher(self._path, seed, self._committed)
            for _ in range(STEPS):
                dispatcher.step()
            dispatcher.close()
        self.events = disk.events

    def _committed(self, durable: bool) -> None:  # noqa: FBT001
        connection = apsw.Connection(self._path)
        self.states.append(rows_of(connection))
        connection.close()
        changed = self.states[-1] not in self.states[-2:-1]
        self._disk.note((len(self.states) - 1, durable and changed))


def _cut_everywhere(directory: Path, seed: int, *, each: int = 1) -> list[str]:
    """Cuts the power after every event; returns the cuts after which the database was wrong."""
    recording = Recording(directory / "run", seed)
    dice = random.Random(seed)
    platter = DiskModel()
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
        survival = dice.choice(SURVIVALS)
        left = platter.cut(dice, survival)
        allowed = recording.states[told : reached + 2]
        found = recover(directory / "left", left)
        if found not in allowed:
            wrong.append(f"seed {seed} event {number} {survival}: {found}")
    return wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    assert _cut_everywhere(tmp_path, seed) == []


def _never(self: Database, *, full: bool) -> None:
    self._connection.execute("PRAGMA synchronous = OFF")


def _half(self: Database, *, full: bool) -> None:
    self._connection.execute("PRAGMA synchronous = NORMAL")


@pytest.mark.parametrize("make_durable", [_never, _half])
def test_less_syncing_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_durable: Callable[..., None]
) -> None:
    monkeypatch.setattr(Database, "_make_durable", make_durable)
    assert _cut_everywhere(tmp_path, 1, each=3)
