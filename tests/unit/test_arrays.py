"""The indexes of job arrays, and the jobs that they make."""

import json
from collections.abc import Sequence

import pytest

from queued.core.arrays import new_jobs
from queued.core.errors import UsageError
from queued.core.index_ranges import LARGEST_INDEX, MOST_INDEXES, array
from queued.core.job_spec import new_job


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3", [3]),
        ("1-4", [1, 2, 3, 4]),
        ("5,1,3,1", [1, 3, 5]),
        ("0-15:4", [0, 4, 8, 12]),
        ("7-9,8-10:2,0", [0, 7, 8, 9, 10]),
        (f"{LARGEST_INDEX}", [LARGEST_INDEX]),
        (f"1-{MOST_INDEXES}", range(1, MOST_INDEXES + 1)),
    ],
)
def test_the_indexes_of_an_array(text: str, found: Sequence[int]) -> None:
    assert array("array", text) == (tuple(found), None)
    assert array("array", f"{text}%10") == (tuple(found), 10)


@pytest.mark.parametrize(
    "text",
    ["", "%2", "x", "1-", "-1", "5-1", "1,,2", "1-5:0", "1 - 5", "1-3,x", "1000001", "٣", 7, ["1"]],
)
def test_indexes_that_are_refused(text: object) -> None:
    with pytest.raises(UsageError, match="^array takes indexes from 0 to 1,000,000 such as 1-100"):
        new_job({"command": "true", "array": text})


@pytest.mark.parametrize("text", ["0-10000", "0-9999,20000", "0-1000000"])
def test_an_array_that_is_too_large(text: str) -> None:
    with pytest.raises(UsageError, match="^array has more than 10,000 indexes"):
        array("array", text)


def test_each_job_of_an_array_has_its_id_and_its_variables() -> None:
    given = {"command": "x", "id": "a", "array": "2,10", "env": {"A": "1"}, "nice": 3, "queue": "q"}
    first, last = new_jobs(given)
    assert (first.id, last.id, first.array_id, first.queue) == ("a_2", "a_10", "a", "q")
    own = {"QUEUED_ARRAY_ID": "a", "QUEUED_ARRAY_INDEX": "10"}
    assert json.loads(last.options) == {"nice": 3, "env": {"A": "1", **own}}
    assert (last.key, last.key_limit) == (None, 1)
    limited = new_jobs({"command": "x", "id": "a", "array": "1-2%3"})
    assert {(job.key, job.key_limit) for job in limited} == {("array:a", 3)}
    generated = [job.array_id for job in new_jobs({"command": "x", "array": "1-2"})]
    assert len(set(generated)) == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"unique_key": "k"}, "an array takes no unique_key"),
        ({"stdin": "text"}, "an array takes no stdin"),
        ({"key": "k"}, "an array with %N takes no key"),
        ({"id": "x" * 62}, "id takes 1 to 64 printable characters"),
    ],
)
def test_fields_that_an_array_does_not_take(fields: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        new_jobs({"command": "true", "array": "1-10%2", **fields})


@pytest.mark.parametrize("most", ["", "0", "1001", "x", "-1", "2%3"])
def test_a_limit_that_is_refused(most: str) -> None:
    with pytest.raises(UsageError, match="^array takes a number from 1 to 1,000 after %, not "):
        array("array", f"1-3%{most}")
