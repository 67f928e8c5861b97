"""Labels: words that a service has and that a job may require, such as `gpu` or `zone=a`.

Labels are compared as whole words. Each service also has the label `host:NAME` of its host. A set
of labels is stored as one text: in alphabetical order, separated by commas; see `joined`.
"""

from collections.abc import Collection, Iterable

from queued.core.errors import UsageError
from queued.core.suggestions import shorten

MAX_LABEL = 128  # characters
MAX_LABELS = 32
_HOST = "host:"


def joined(labels: Iterable[str]) -> str:
    """Returns labels as they are stored, each once."""
    return ",".join(sorted(set(labels)))


def split(text: str) -> frozenset[str]:
    """Returns the labels of a text; spaces around the commas do not count."""
    return frozenset(label.strip() for label in text.split(",")) if text.strip() else frozenset()


def of_host(name: str) -> str:
    """Returns the label of all services of a host."""
    return f"{_HOST}{name}"


def check(labels: Collection[str]) -> None:
    """Raises UsageError if one of the labels is not valid, or if there are too many."""
    for label in labels:
        good = 1 <= len(label) <= MAX_LABEL and label.isprintable() and not set(label) & {" ", ","}
        if not good:
            rule = f"has 1 to {MAX_LABEL} printable characters without spaces or commas"
            msg = f"a label {rule}: not {shorten(label)}"
            raise UsageError(msg)
    if len(labels) > MAX_LABELS:
        msg = f"at most {MAX_LABELS} labels, not {len(labels)}"
        raise UsageError(msg)


def check_own(labels: Collection[str]) -> None:
    """Raises UsageError if a service cannot be given these labels."""
    check(labels)
    for label in labels:
        if label.startswith(_HOST):
            msg = f"{shorten(label)} cannot be given: each service has the host: label of its host"
            raise UsageError(msg)


def required(name: str, value: object) -> str:
    """Returns the labels that a field of a job requires, as they are stored. Raises UsageError."""
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        msg = f'{name} takes a list of labels such as ["gpu", "zone=a"], not {shorten(value)}'
        raise UsageError(msg)
    try:
        check(value)
    except UsageError as error:
        msg = f"{name}: {error}"
        raise UsageError(msg) from None
    return joined(value)


def missing(wanted: frozenset[str], services: Iterable[frozenset[str]]) -> frozenset[str]:
    """Returns the labels of `wanted` that no service has; empty if one service has all of them.

    If each label is there, but not all on one service, returns all.
    """
    found = list(services)
    if any(wanted <= labels for labels in found):
        return frozenset()
    return wanted.difference(*found) or wanted
