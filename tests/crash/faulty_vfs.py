"""A disk that can lose its power and refuse its service: a VFS of SQLite over the real one.

It writes down all that SQLite does to its files, in order. `Platter` plays that back and says what
a power cut at any moment may have left: whatever was not synced is there or not, in any choice,
sectors torn, names of files too. The index of the WAL is shared memory of the real VFS and is no
part of it: after a cut SQLite makes it anew from the WAL.
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
    """One thing that was done to a file, or a `note` of what was known by then."""

    kind: str
    name: str = ""
    offset: int = 0
    content: bytes = b""
    note: Any = None


Fault = Callable[[str, str], Exception | None]


class Disk(apsw.VFS):
    """The default VFS of this process while it is installed. `fault` may refuse any call."""

    def __init__(self) -> None:
        self.name = f"disk-{id(self)}"
        self.events: list[Event] = []
        self.fault: Fault | None = None
        self.careless = False  # no sync reaches the real disk
        self._known: set[str] = set()
        super().__init__(self.name, "unix", makedefault=True)

    def move(self, old: str, new: str, *, kept: bool = False) -> None:
        """A file has a new name, and its old one only if that was `kept`."""
        self.write_down(Event("link" if kept else "rename", _base(old), note=_base(new)))
        self._known.add(new)
        if not kept:
            self._known.discard(old)

    def remove(self, path: str) -> None:
        """A file has lost its name."""
        self._known.discard(path)
        self.write_down(Event("delete", _base(path)))

    def sync_names(self) -> None:
        """The directory is on the disk."""
        self.write_down(Event("names"))

    def note(self, what: object) -> None:
        """Something that is known to have happened by now."""
        self.events.append(Event("note", note=what))

    def call(self, kind: str, name: str) -> None:
        """Before each call: raises what is to go wrong."""
        error = self.fault(kind, name) if self.fault is not None else None
        if error is not None:
            raise error

    def write_down(self, event: Event) -> None:
        """A thing was done to a file that has a name."""
        if event.name or event.kind == "names":
            self.events.append(event)

    def excepthook(self, *_error: Any) -> bool:
        """SQLite gets the code; nobody else need know."""
        return True

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self.call("open", _base(path))
        opened = _File(self, name, path, flags)
        if path and path not in self._known:  # a file without a name is nobody's after a cut
            self._known.add(path)
            self.write_down(Event("create", _base(path)))
        return opened

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802, FBT001
        self.call("delete", _base(path))
        super().xDelete(path, sync)
        self.remove(path)
        if sync:
            self.write_down(Event("names"))


class _File(apsw.VFSFile):
    def __init__(
        self, disk: Disk, name: str | apsw.URIFilename | None, path: str, flags: list[int]
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
        self._disk.write_down(Event("write", self._name, offset, bytes(content)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.call("truncate", self._name)
        super().xTruncate(size)
        self._disk.write_down(Event("truncate", self._name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.call("sync", self._name)
        if not self._disk.careless:
            super().xSync(flags)
        self._disk.write_down(Event("sync", self._name))
        if self._fresh:
            self._fresh = False
            self._disk.write_down(Event("names"))


def _base(path: str) -> str:
    return os.path.basename(path)


@contextmanager
def installed() -> Iterator[Disk]:
    """A disk that all connections of this process are opened on."""
    disk = Disk()
    try:
        yield disk
    finally:
        disk.unregister()


@dataclass(slots=True)
class _Content:
    """A file: what is surely there, and what was done since the last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)

    def sync(self) -> None:
        for event in self.pending:
            _apply(self.durable, event, None)
        self.pending.clear()

    def survives(self, dice: random.Random, mood: str) -> bytes:
        content = bytearray(self.durable)
        kept = dice.randrange(len(self.pending) + 1)
        for number, event in enumerate(self.pending):
            if mood == "all" or (mood == "first" and number < kept):
                _apply(content, event, None)
            elif mood in ("some", "torn") and dice.random() < 0.5:
                _apply(content, event, dice if mood == "torn" else None)
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


MOODS = ("none", "all", "first", "some", "torn")


class Platter:
    """What is on the disk, event by event."""

    def __init__(self) -> None:
        self._names: dict[str, _Content] = {}  # as programs see it
        self._durable: dict[str, _Content] = {}  # as the directory on the disk has it
        self._renaming: list[dict[str, _Content | None]] = []  # what happens all at once

    def play(self, event: Event) -> None:
        """The event has happened."""
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

    def cut(self, dice: random.Random, mood: str) -> dict[str, bytes]:
        """The files that are found after a power cut now."""
        found = dict(self._durable)
        for change in self._renaming:
            if mood == "all" or (mood != "none" and dice.random() < 0.5):
                _put(found, change)
        return {name: content.survives(dice, mood) for name, content in found.items()}


def _put(names: dict[str, _Content], change: dict[str, _Content | None]) -> None:
    for name, content in change.items():
        if content is None:
            names.pop(name, None)
        else:
            names[name] = content
