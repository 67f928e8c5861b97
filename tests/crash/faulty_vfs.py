"""A VFS of SQLite over the real one that records all calls and can fail them.

`FaultyVfs` records what SQLite does to its files, in order. `DiskModel` replays these events and
returns the files that a power cut at any moment may leave: writes, truncations and directory
entries that were not synced survive or not, in any choice, and sectors may be torn. The index of
the WAL is shared memory of the real VFS and not recorded: after a power cut SQLite rebuilds it.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw

SECTOR = 512
_SYNCS_NAMES = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL  # of the directory, when new


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a file, or a `note` that a test puts between the changes."""

    kind: str
    name: str = ""
    offset: int = 0
    content: bytes = b""
    note: Any = None


Fault = Callable[[str, str], Exception | None]


class FaultyVfs(apsw.VFS):
    """The default VFS of this process while it is installed. `fault` may refuse any call."""

    def __init__(self) -> None:
        self.name = f"disk-{id(self)}"
        self.events: list[Event] = []
        self.fault: Fault | None = None
        self.skips_syncs = False  # no sync reaches the real disk
        self._known: set[str] = set()
        super().__init__(self.name, "unix", makedefault=True)

    def move(self, old: str, new: str, *, kept: bool = False) -> None:
        """Records that a file was renamed, or linked if the old name was `kept`."""
        self.record_event(Event("link" if kept else "rename", _base(old), note=_base(new)))
        self._known.add(new)
        if not kept:
            self._known.discard(old)

    def remove(self, path: str) -> None:
        """Records that a file was deleted."""
        self._known.discard(path)
        self.record_event(Event("delete", _base(path)))

    def sync_names(self) -> None:
        """Records that the directory was synced."""
        self.record_event(Event("names"))

    def note(self, what: object) -> None:
        """Puts a note of the test between the events."""
        self.events.append(Event("note", note=what))

    def call(self, kind: str, name: str) -> None:
        """Raises the fault that the test wants for this call, if any. Called before each call."""
        error = self.fault(kind, name) if self.fault is not None else None
        if error is not None:
            raise error

    def record_event(self, event: Event) -> None:
        """Keeps an event, unless its file has no name."""
        if event.name or event.kind == "names":
            self.events.append(event)

    def excepthook(self, *_error: Any) -> bool:
        """Prints nothing: SQLite gets the error code."""
        return True

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self.call("open", _base(path))
        opened = _File(self, name, path, flags)
        if path and path not in self._known:  # no program finds a file without a name after a cut
            self._known.add(path)
            self.record_event(Event("create", _base(path)))
        return opened

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802, FBT001
        self.call("delete", _base(path))
        super().xDelete(path, sync)
        self.remove(path)
        if sync:
            self.record_event(Event("names"))


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FaultyVfs, name: str | apsw.URIFilename | None, path: str, flags: list[int]
    ) -> None:
        self._disk = disk
        self._name = _base(path)
        self._fresh = bool(flags[0] & _SYNCS_NAMES)
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.call("read", self._name)
        return super().xRead(amount, offset)

    def xWrite(self, content: Any, offset: int) -> None:  # noqa: N802
        self._disk.call("write", self._name)
        super().xWrite(content, offset)
        self._disk.record_event(Event("write", self._name, offset, bytes(content)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.call("truncate", self._name)
        super().xTruncate(size)
        self._disk.record_event(Event("truncate", self._name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.call("sync", self._name)
        if not self._disk.skips_syncs:
            super().xSync(flags)
        self._disk.record_event(Event("sync", self._name))
        if self._fresh:
            self._fresh = False
            self._disk.record_event(Event("names"))


def _base(path: str) -> str:
    return os.path.basename(path)


@contextmanager
def installed() -> Iterator[FaultyVfs]:
    """Opens all connections of this process through a `FaultyVfs`."""
    disk = FaultyVfs()
    try:
        yield disk
    finally:
        disk.unregister()


@dataclass(slots=True)
class _Content:
    """A file: the content of the last sync, and the events since then."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)

    def sync(self) -> None:
        for event in self.pending:
            _apply(self.durable, event, None)
        self.pending.clear()

    def survives(self, dice: random.Random, survival: str) -> bytes:
        content = bytearray(self.durable)
        kept = dice.randrange(len(self.pending) + 1)
        for number, event in enumerate(self.pending):
            if survival == "all" or (survival == "first" and number < kept):
                _apply(content, event, None)
            elif survival in ("some", "torn") and dice.random() < 0.5:
                _apply(content, event, dice if survival == "torn" else None)
        return bytes(content)


def _apply(content: bytearray, event: Event, torn: random.Random | None) -> None:
    if event.kind == "truncate":
        del content[event.offset :]
        return
    end = event.offset + len(event.content)
    position = event.offset
    while position < end:
        stop = min(end, (position // SECTOR + 1) * SECTOR)
        if torn is None or torn.random() < 0.5:
            content.extend(bytes(max(0, stop - len(content))))
            content[position:stop] = event.content[position - event.offset : stop - event.offset]
        position = stop


# Which of the events since the last sync survive a power cut.
SURVIVALS = ("none", "all", "first", "some", "torn")


class DiskModel:
    """The content of the disk, event by event."""

    def __init__(self) -> None:
        self._names: dict[str, _Content] = {}  # as programs see it
        self._durable: dict[str, _Content] = {}  # as the synced directory has it
        self._renaming: list[dict[str, _Content | None]] = []  # not synced yet; each is atomic

    def play(self, event: Event) -> None:
        """Applies an event."""
        match event.kind:
            case "create":
                self._rename({event.name: _Content()})
            case "delete":
                self._rename({event.name: None})
            case "rename":
                self._rename({event.note: self._names[event.name], event.name: None})
            case "link":
                self._rename({event.note: self._names[event.name]})
            case "write" | "truncate":
                self._names[event.name].pending.append(event)
            case "sync":
                self._names[event.name].sync()
            case "names":
                for change in self._renaming:
                    _put(self._durable, change)
                self._renaming.clear()

    def _rename(self, change: dict[str, _Content | None]) -> None:
        _put(self._names, change)
        self._renaming.append(change)

    def cut(self, dice: random.Random, survival: str) -> dict[str, bytes]:
        """Returns the files that are there after a power cut now."""
        found = dict(self._durable)
        for change in self._renaming:
            if survival == "all" or (survival != "none" and dice.random() < 0.5):
                _put(found, change)
        return {name: content.survives(dice, survival) for name, content in found.items()}


def _put(names: dict[str, _Content], change: dict[str, _Content | None]) -> None:
    for name, content in change.items():
        if content is None:
            names.pop(name, None)
        else:
            names[name] = content
