"""Generated ids are short and unique, and differ in their first characters."""

from hypothesis import given
from hypothesis import strategies as st

from queued.core import ids
from queued.core.field_checks import word
from queued.core.ids import ALPHABET, LENGTH, encode


def test_an_id_is_one_that_a_user_could_give() -> None:
    for made in ids.make(100):
        assert len(made) == LENGTH
        assert word("id", made) == made


def test_ten_thousand_ids_are_different_and_sorted() -> None:
    made = ids.make(10_000)
    assert made == sorted(set(made))
    assert len(made) == 10_000


def test_the_first_characters_tell_ids_apart() -> None:
    assert len({made[:5] for made in ids.make(1000)}) > 990
    assert {made[0] for made in ids.make(1000)} == set(ALPHABET)


@given(st.integers(0, 2**65 - 1), st.integers(0, 2**65 - 1))
def test_the_order_of_texts_is_the_order_of_numbers(one: int, other: int) -> None:
    assert (encode(one) < encode(other)) is (one < other)
    assert list(ALPHABET) == sorted(set(ALPHABET))
