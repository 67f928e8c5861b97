"""Ids are short, unique and sorted by time."""

from hypothesis import given
from hypothesis import strategies as st

from queued.core.ids import ALPHABET, LENGTH, IdSource, encode
from queued.core.job_spec import word

MOMENTS = st.integers(0, 2**45 - 1)  # up to the year 3084


@given(st.lists(MOMENTS, min_size=2, max_size=50))
def test_ids_of_one_source_increase_even_if_the_clock_goes_back(moments: list[int]) -> None:
    source = IdSource()
    made = [source.make(moment) for moment in moments]
    assert made == sorted(set(made))


@given(MOMENTS, MOMENTS)
def test_ids_of_two_sources_are_sorted_by_time(one: int, other: int) -> None:
    if one < other:
        assert IdSource().make(one) < IdSource().make(other)


@given(MOMENTS)
def test_an_id_is_one_that_a_user_could_give(moment: int) -> None:
    made = IdSource().make(moment)
    assert len(made) == LENGTH
    assert word("id", made) == made


def test_ten_thousand_ids_of_one_millisecond_are_different() -> None:
    source = IdSource()
    assert len({source.make(1_700_000_000_000) for _ in range(10_000)}) == 10_000


def test_two_sources_differ_within_a_millisecond() -> None:
    assert len({IdSource().make(1_700_000_000_000) for _ in range(20)}) > 15


@given(st.integers(0, 2**65 - 1), st.integers(0, 2**65 - 1))
def test_the_order_of_texts_is_the_order_of_numbers(one: int, other: int) -> None:
    assert (encode(one) < encode(other)) is (one < other)


def test_the_alphabet_is_sorted() -> None:
    assert list(ALPHABET) == sorted(set(ALPHABET))
    assert len(ALPHABET) == 32
