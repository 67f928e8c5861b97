"""Backup, restore and vacuum while the power is cut, or the disk refuses: whole, or not begun.

`COPY_SEEDS` runs more of them: COPY_SEEDS=50 pytest tests/crash/test_copies.py
"""

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from queued.core.errors import QueuedError
from queued.core.model import NewJob
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.maintenance import atomic_rename, backup
from tests.crash.faulty_vfs import SURVIVALS, DiskModel, FaultyVfs, installed
from tests.crash.recovered_state import files_in_place, read_state
from tests.crash.test_disk_faults import FAULTS, Refusals

SEEDS = range(1, 1 + int(os.environ.get("COPY_SEEDS", "2")))
PATIENT = BusyHandler(5)
NOTES = b"my notes\n" * 900


class Place:
    """A directory with a database, a copy of it of earlier, and what is to be done there."""

    def __init__(self, directory: Path, case: str) -> None:
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.case = case
        self.path = str(directory / "queue.db")
        self.copy = str(directory / "copy.db")
        self.kept = f"{self.path}.old"
        self._add("a", 30)
        backup.backup(self.path, self.copy, PATIENT)
        self.earlier = read_state(self.copy)
        self._add("b", 60)
        self.later = read_state(self.path)

    def _add(self, letter: str, count: int) -> None:
        store = SqliteStore(self.path, PATIENT)
        jobs = [NewJob("x" * 300, f"{letter}{n}") for n in range(count)]
        store.enqueue(jobs, max_retries=3, now_ms=1)
        store.close()

    def prepare(self) -> None:
        """Puts the files into the state with which the case begins."""
        if self.case == "restore, damaged":
            flags = [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MAIN_DB, 0]
            file = apsw.VFSFile("", self.path, flags)
            file.xTruncate(0)
            file.xWrite(NOTES, 0)
            file.xSync(apsw.SQLITE_SYNC_FULL)
            file.xClose()
        elif self.case == "restore, gone":
            os.unlink(self.path)
            backup._sync_directory(str(self.directory))

    def work(self) -> None:
        """The command."""
        if self.case == "backup":
            backup.backup(self.path, f"{self.directory}/new.db", PATIENT)
        elif self.case == "backup, again":
            backup.backup(self.path, self.copy, PATIENT, replace=True)
        elif self.case == "vacuum":
            backup.vacuum(self.path, PATIENT)
        else:
            backup.restore(self.path, self.copy, self.kept, PATIENT)

    def wrong(self, directory: Path, *, done: bool) -> list[str]:
        """Returns the files of that directory that have a state which is not allowed."""
        here = {file.name: file.read_bytes() for file in directory.iterdir()}
        known = {self.earlier: "earlier", self.later: "later"}

        def state(name: str) -> str:
            if here.get(name) == NOTES:
                return "notes"
            found = read_state(str(directory / name)) if name in here else "nothing"
            return known.get(found, found)

        allowed = _ALLOWED[self.case]
        return [
            f"{name} is {state(name)}"
            for name, before, after in allowed
            if state(name) not in ({after} if done else {before, after})
        ] + self._lost(state, done=done)

    def _lost(self, state: Callable[[str], str], *, done: bool) -> list[str]:
        """Checks that the replaced database exists under one of its two names."""
        if self.case != "restore, damaged":
            return []
        names = [os.path.basename(self.kept), *([] if done else ["queue.db"])]
        return [] if "notes" in map(state, names) else ["the old one is lost"]


_ALLOWED = {
    "backup": [("queue.db", "later", "later"), ("new.db", "nothing", "later")],
    "backup, again": [("queue.db", "later", "later"), ("copy.db", "earlier", "later")],
    "vacuum": [("queue.db", "later", "later"), ("copy.db", "earlier", "earlier")],
    "restore": [("queue.db", "later", "earlier"), ("copy.db", "earlier", "earlier")],
    "restore, damaged": [("queue.db", "notes", "earlier"), ("copy.db", "earlier", "earlier")],
    "restore, gone": [("queue.db", "nothing", "earlier"), ("copy.db", "earlier", "earlier")],
}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyVfs]:
    """A disk that also learns of the names that are given and taken without SQLite."""
    with installed() as made:
        made.skips_syncs = True
        rename, link, unlink = os.rename, os.link, os.unlink

        def moving(plain: Callable[[str, str], None], *, kept: bool) -> Callable[[str, str], None]:
            def move(old: str, new: str) -> None:
                made.call("name", os.path.basename(new))
                plain(old, new)
                made.move(old, new, kept=kept)

            return move

        def remove(path: str, **how: Any) -> None:
            unlink(path, **how)
            made.remove(str(path))

        def to_free(old: str, new: str) -> None:
            assert not os.path.lexists(new)
            os.rename(old, new)

        def sync(_path: str) -> None:
            made.call("sync", "")
            made.sync_names()

        monkeypatch.setattr(os, "rename", moving(rename, kept=False))
        monkeypatch.setattr(os, "link", moving(link, kept=True))
        monkeypatch.setattr(os, "unlink", remove)
        monkeypatch.setattr(atomic_rename, "rename_to_free", to_free)
        monkeypatch.setattr(backup, "_sync_directory", sync)
        yield made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", _ALLOWED)
def test_the_power_is_cut(tmp_path: Path, disk: FaultyVfs, case: str, seed: int) -> None:
    place = Place(tmp_path / "run", case)
    place.prepare()
    disk.note("begun")
    place.work()
    disk.note("done")
    events, dice, platter = list(disk.events), random.Random(seed), DiskModel()
    cuts, said = 0, ""
    for event in events:
        if event.kind == "note":
            said = event.note
        else:
            platter.play(event)
        if not said:
            continue
        cuts += 1
        survival = dice.choice(SURVIVALS)
        with files_in_place(tmp_path / "left", platter.cut(dice, survival)):
            wrong = place.wrong(tmp_path / "left", done=said == "done")
            assert wrong == [], (cuts, event.kind, event.name, survival)
    assert cuts > 8


def _no_name() -> Exception:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


REFUSALS: dict[str, tuple[str, Callable[[], Exception]]] = {**FAULTS, "no name": ("name", _no_name)}


@pytest.mark.parametrize("length", [1, 10**9])
@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("case", _ALLOWED)
def test_the_disk_refuses(
    tmp_path: Path, disk: FaultyVfs, case: str, name: str, length: int
) -> None:
    kind, error = REFUSALS[name]
    counted = _refused(tmp_path / "plain", disk, case, Refusals(kind, error, 0, 0))
    for first in range(1, counted + 1, max(1, counted // 7)):
        refusals = Refusals(kind, error, first, length)
        _refused(tmp_path / f"{first}", disk, case, refusals)
        assert refusals.refused


def _refused(directory: Path, disk: FaultyVfs, case: str, refusals: Refusals) -> int:
    place = Place(directory, case)
    place.prepare()
    before: dict[str, Any] = {file.name: None for file in directory.iterdir()}
    disk.fault = refusals
    done = True
    try:
        place.work()
    except QueuedError as refusal:
        done = False
        assert "\n" not in str(refusal)
    except SystemError:  # apsw's, where a disk of Python's refuses again while a backup ends
        done = False
    finally:
        disk.fault = None
    assert place.wrong(directory, done=done) == []
    left = {file.name for file in directory.iterdir()} - before.keys()
    assert not [name for name in left if name.endswith(".new")]
    return refusals.calls
