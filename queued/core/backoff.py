"""Delays before a failed job runs again and before a child process is started again."""


def backoff_s(attempts: int, *, base: float, maximum: float, jitter: float = 0.0) -> float:
    """Returns the seconds until the next run: min(base ** attempts, maximum).

    `attempts` counts failed runs. `jitter` is a fraction of the delay (0 to 1): the result is
    uniform between the delay less that fraction and the delay plus it.
    """
    return _delay_s(1.0, attempts, base, maximum, jitter)


def deferral_s(
    deferrals: int, *, first: float, base: float, maximum: float, jitter: float = 0.0
) -> float:
    """Returns the seconds until the next run of a job that was deferred: it grows as a backoff.

    The result is `first` after the first deferral, then min(first * base ** n, maximum), but never
    less than `first`; n grows by 1 with each deferral.
    """
    return _delay_s(first, deferrals - 1, base, max(first, maximum), jitter)


def _delay_s(first: float, exponent: int, base: float, maximum: float, jitter: float) -> float:
    try:
        delay = min(first * float(base) ** exponent, maximum)
    except OverflowError:
        delay = maximum
    if not jitter:
        return delay
    from random import uniform

    return delay * (1 + uniform(-jitter, jitter))


def restart_s(deaths: int) -> float:
    """Returns the seconds until a child is started again after `deaths` early deaths in a row.

    The first restart is immediate; then 0.1 s, doubling up to 30 s.
    """
    if deaths <= 1:
        return 0.0
    return min(0.1 * 2.0 ** min(deaths - 2, 32), 30.0)
