"""Random steps in a random order: the database does what a queue in memory does.

Hypothesis chooses the steps, and shrinks those that make a difference to the fewest.
"""

import pytest
from hypothesis import HealthCheck, settings

from tests.store.engines import ENGINES
from tests.store.walk_dispatchers import DispatcherSteps
from tests.store.walk_users import ScheduleSteps, UserSteps

pytestmark = pytest.mark.timeout(600)  # half a minute, and several on a busy machine


class Walk(UserSteps, ScheduleSteps, DispatcherSteps):
    """Steps of users, dispatchers, crashes and the clock."""


class OnSqlite(Walk):
    open_engine = staticmethod(ENGINES["sqlite"])


class OnPostgres(Walk):
    open_engine = staticmethod(ENGINES["postgres"])


LONG = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestOnSqlite, TestOnPostgres = OnSqlite.TestCase, OnPostgres.TestCase
TestOnSqlite.settings = LONG
TestOnPostgres.settings = settings(LONG, max_examples=20)  # a step takes five times as long
