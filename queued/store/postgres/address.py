"""The address of a queue on PostgreSQL: `postgresql://USER@HOST/DATABASE?schema=NAME`."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from queued.core.errors import UsageError

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Address(NamedTuple):
    """Where a queue is."""

    conninfo: str  # for libpq
    schema: str
    shown: str  # for people: without the password


def parse(url: str) -> Address:
    """Returns the address that a URL gives. Raises UsageError if its schema is no plain name."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        msg = f"not the URL of a database: {error}"
        raise UsageError(msg) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = options.pop("schema", "queued")
    if not _SCHEMA.fullmatch(schema):
        msg = f"{schema!r} is no name of a schema: lower-case letters, digits and _, 63 at most"
        raise UsageError(msg)
    user, at, host = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"
    query = urlencode(options, quote_via=quote)
    return Address(f"{parts.scheme}://{parts.netloc}{parts.path}?{query}", schema, shown)
