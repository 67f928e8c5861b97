"""Chooses the database engine of the tests of processes and of queuectl.

A test that uses the fixture `engine_name` runs on SQLite, and over PostgreSQL as well if it, or its
file, has the mark `both_engines`. QUEUED_TEST_ENGINES=postgres runs over PostgreSQL all of them but
those with the mark `sqlite_only`, and no other test.
"""

import os

import pytest

ONLY = os.environ.get("QUEUED_TEST_ENGINES", "")


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Is `pytest_generate_tests` of a folder whose tests can run on both engines."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    names = ["sqlite"]
    if "sqlite_only" not in marks and (ONLY == "postgres" or "both_engines" in marks):
        names.append("postgres")
    if "engine_name" in metafunc.fixturenames:
        metafunc.parametrize("engine_name", names, scope="module")


def runs(item: pytest.Item) -> bool:
    """Returns whether a test is to run: it does unless another engine was asked for."""
    parameters = (
        item.callspec.params.values()
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ()
    )
    return not ONLY or ONLY in parameters
