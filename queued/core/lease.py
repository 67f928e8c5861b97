"""The lease of an instance: how long other hosts take for granted that its runs may be alive.

A host renews its lease by a write to the database. If it cannot, it ends its runs before the lease
is over, and another host takes over the jobs after that. Each side measures with its own clock, so
that no two clocks are compared:

- The holder counts from the moment before it sent the renewal.
- Another host counts from when it first saw the result of that renewal, which is later.

All times are seconds of the clock since boot, which counts suspended time.
"""

from typing import NamedTuple


class Lease(NamedTuple):
    """The times of a lease of `length_s` seconds, in the order in which they pass.

    - Every `renewal_s` the dispatcher renews it.
    - After `claiming_s` without a renewal the dispatcher claims no job.
    - After `term_s` each worker terminates its run; it begins no other one, but gives it back.
    - After `kill_s` each worker kills its run.
    - After `end_s` the warden kills all processes of runs that are left.
    - After `length_s` the lease is over; the time since `end_s` is a margin for a slow clock.
    - After `takeover_s` without a renewal that it sees, another host takes over the jobs.

    Two renewals in a row may fail before claims stop. Runs are terminated as late as the steps
    after that allow, so that a short outage touches none: the grace of the run (a sixth of the
    lease at most), 5 s for the kill by the worker, and a margin for a clock that is slower by up to
    a twelfth.
    """

    length_s: float

    @property
    def renewal_s(self) -> float:  # noqa: D102 - see the class
        return min(10.0, self.length_s / 12)  # it also reads what other hosts have changed

    @property
    def claiming_s(self) -> float:  # noqa: D102 - see the class
        return self.length_s / 4

    @property
    def _margin_s(self) -> float:
        return max(2.0, self.length_s / 12)

    @property
    def end_s(self) -> float:  # noqa: D102 - see the class
        return self.length_s - self._margin_s

    @property
    def kill_s(self) -> float:  # noqa: D102 - see the class
        return self.end_s - min(5.0, self.length_s / 12)

    def term_s(self, kill_grace_s: float) -> float:
        """Returns the time at which a run with this grace between TERM and KILL is terminated."""
        return self.kill_s - min(kill_grace_s, self.length_s / 6)

    @property
    def takeover_s(self) -> float:  # noqa: D102 - see the class
        return self.length_s + self._margin_s


class Renewal(NamedTuple):
    """The answer of the database to a renewal.

    A history names a server and its timeline, as "server/timeline"; a failover and the restore of a
    backup change it. Jobs may be claimed if `history`, that of this server, is the `trusted` one.
    """

    beat: int  # the number of this renewal
    history: str
    trusted: str
    longest_s: float  # the length of the longest lease of any instance


class IdleRenewal(NamedTuple):
    """The answer to the renewal of a service that has nothing to do.

    `has_work`: a job is due that the service may claim. `news` is another text after each change of
    what services read besides jobs. `beats` has the last renewal of each instance, by id.
    """

    renewal: Renewal
    has_work: bool
    news: str
    beats: dict[str, int]
