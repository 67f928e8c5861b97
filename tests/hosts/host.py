"""A host of a queue in PostgreSQL, as far as one machine can have several."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.hosts.link import Link
from tests.service import Queue, Service


class Host:
    """A place for services: its own state directory, and its own link to the server.

    So it sees the locks of no other host, and a test can cut it off.
    """

    def __init__(self, directory: Path, url: str) -> None:
        directory.mkdir()
        server = parse_qs(urlsplit(url).query)["host"][0]
        self.link = Link(directory / "link", Path(server))
        self.queue = Queue(directory, url.replace(server, str(self.link.directory)))
        self.clock = directory / "clock"  # see fault_injection.clock

    def set_clock(self, offset_ms: int) -> None:
        """Sets the wall clock of the services that are started with this alteration."""
        new = self.clock.with_suffix(".new")
        new.write_text(str(offset_ms))
        new.rename(self.clock)

    def serve(self, *flags: str, workers: int = 2) -> Service:
        """Starts a service and waits until it is ready."""
        return self.queue.serve(*flags, workers=workers)
