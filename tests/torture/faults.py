"""The kinds of faults, and how many of each a torture has done."""

from collections import Counter

_CHILDREN = ("command", "worker", "dispatcher", "supervisor")
KINDS = {
    **dict.fromkeys(("link cut", "requests cut", "answers cut"), "partition"),
    **dict.fromkeys(("link reset", "COMMIT lost", "answer to COMMIT lost"), "connection"),
    **dict.fromkeys(("server killed", "server shut down", "server frozen"), "server"),
    **dict.fromkeys(("SIGKILL host", "SIGSTOP host", "SIGKILL instance"), "host"),
    **dict.fromkeys(("SIGSTOP instance", "lock file removed"), "host"),
    "clock set": "clock",
    "disk full": "disk",
    **{
        f"SIG{name} {child}": "process"
        for name in ("KILL", "STOP", "TERM", "QUIT")
        for child in _CHILDREN
    },
}


def by_kind(done: Counter[str]) -> dict[str, int]:
    """Returns how many faults of each kind were done, and of all."""
    found: Counter[str] = Counter()
    for what, number in done.items():
        if what in KINDS:
            found[KINDS[what]] += number
    return {"all": found.total(), **dict(found.most_common())}
