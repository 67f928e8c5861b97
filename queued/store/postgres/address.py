"""The address of a queue on PostgreSQL: `postgresql://USER@HOST/DATABASE?schema=NAME`.

It may name several servers, `HOST,HOST` or `host=HOST,HOST`: the primary and its standbys.
"""

import os
import re
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from queued.core.errors import UsageError

_STANDARD = "queued"  # the schema of a URL that names none
_SECRET = {"password", "sslpassword"}
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,53}")  # with room for the end of the name of a role
_LOCAL = re.compile(r"localhost|127\.[0-9.]+|::1|[/@].*|")  # or the directory of a socket
_BAD = re.compile(r"\s|%(?![0-9A-Fa-f]{2})")
_DECIDED = {"disable", "require", "verify-ca", "verify-full"}  # in other modes the server decides


class Address(NamedTuple):
    """Where a queue is."""

    conninfo: str  # for libpq
    schema: str
    shown: str  # for people: without the password and options; with another schema than `queued`
    place: str  # for a command line: without the password


def parse(url: str) -> Address:
    """Returns the address that a URL gives. Of several servers the primary is used.

    The connection to another host is encrypted, unless the URL or PGSSLMODE has `disable`. Raises
    UsageError if the URL is not valid.
    """
    parts = _split(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = options.pop("schema", _STANDARD)
    if not _SCHEMA.fullmatch(schema):
        msg = f"{schema!r} is no name of a schema: lower-case letters, digits and _, 54 at most"
        raise UsageError(msg)
    user, at, host = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"
    if any("," in named for named in (host, options.get("host", ""), options.get("hostaddr", ""))):
        options.setdefault("target_session_attrs", "read-write")
    if _is_remote(host, options):
        options.setdefault("sslmode", _default_mode(options))
        if options["sslmode"] not in _DECIDED:
            msg = (
                f"{shown}: jobs and passwords might pass unencrypted; give sslmode=verify-full or"
                " sslmode=require in the URL, or sslmode=disable in a network that you trust"
            )
            raise UsageError(msg)
    query = urlencode(options, quote_via=quote)
    public = {name: text for name, text in options.items() if name not in _SECRET}
    own = {} if schema == _STANDARD else {"schema": schema}
    place = f"{shown}?{urlencode(public | own, safe='/', quote_via=quote)}".removesuffix("?")
    shown = f"{shown}?{urlencode(own)}".removesuffix("?")
    return Address(f"{parts.scheme}://{parts.netloc}{parts.path}?{query}", schema, shown, place)


def _split(url: str) -> SplitResult:
    """Raises UsageError without a part of the URL, which may be one of the password."""
    with suppress(ValueError):
        parts = urlsplit(url)
        rest = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
        if not (_BAD.search(url) or "@" in rest or parts.fragment):
            return parts
    msg = "not the URL of a database; in a user or password write / as %2F, # as %23, @ as %40"
    raise UsageError(msg)


def _is_remote(host: str, options: dict[str, str]) -> bool:
    """Returns whether a TCP connection to another host may be made."""
    if _has_service(options):
        return True
    in_url = ",".join(re.sub(r":\d*$", "", one).strip("[]") for one in unquote(host).split(","))
    named = options.get("hostaddr") or options.get("host") or in_url
    named = named or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST", "")
    return not all(_LOCAL.fullmatch(one) for one in named.split(","))


def _has_service(options: dict[str, str]) -> bool:
    return "service" in options or "PGSERVICE" in os.environ


def _default_mode(options: dict[str, str]) -> str:
    """Returns the mode for a URL without one; none if a service file may have one."""
    return "" if _has_service(options) else os.environ.get("PGSSLMODE") or "require"
