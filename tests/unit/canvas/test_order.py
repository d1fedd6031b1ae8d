"""Fractional indexes: between any two keys there is another key. Proves R-SVG-6."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_canvas.document.order import between, first_keys, is_key, keys_between, sort_key

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@st.composite
def keys(draw: st.DrawFn) -> str:
    """Draw a key: a letter for the number of digits, one to four digits, and a fraction without trailing zeros."""
    head = draw(st.sampled_from("XYZabcd"))
    count = ord(head) - ord("a") + 1 if head >= "a" else ord("Z") - ord(head) + 1
    integer = draw(st.text(_DIGITS, min_size=count, max_size=count))
    fraction = draw(st.text(_DIGITS, max_size=6)).rstrip("0")
    return head + integer + fraction


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=200))
def test_any_sequence_of_insertions_keeps_the_order(insertions: list[tuple[int, bool]]) -> None:
    row: list[str] = []
    for place, at_end in insertions:
        index = len(row) if at_end else min(place, len(row))
        low = row[index - 1] if index else None
        high = row[index] if index < len(row) else None
        row.insert(index, between(low, high))
    assert row == sorted(set(row))
    assert all(sort_key(key) == key for key in row)


@given(keys(), keys())
def test_key_between_two_keys_is_in_order(one: str, other: str) -> None:
    if one == other:
        with pytest.raises(ValueError, match="not below"):
            between(one, other)
        return
    low, high = sorted((one, other))
    middle = between(low, high)
    assert low < middle < high
    assert not (len(middle) > 8 and middle.endswith("0"))
    assert between(None, low) < low
    assert between(high, None) > high


def test_appended_and_prepended_keys_stay_short() -> None:
    key = None
    for _ in range(10_000):
        key = between(key, None)
    assert key is not None
    assert len(key) <= 4
    for _ in range(20_000):
        key = between(None, key)
    assert len(key) <= 4


@pytest.mark.parametrize("downwards", [True, False])
def test_keys_at_one_place_grow_by_one_character_in_five_insertions(downwards: bool) -> None:
    low, middle, high = "a0", "a0V", "a1"
    for _ in range(100):
        middle = between(low, high)
        low, high = (low, middle) if downwards else (middle, high)
    assert len(middle) <= 2 + 100 / 5


def test_first_keys_are_short_sorted_and_consecutive() -> None:
    row = first_keys(50_000)
    assert row == sorted(set(row))
    assert max(map(len, row)) == 4
    assert row[:2] == ["a0", "a1"]
    assert between(None, None) == row[0]
    assert between(row[5], None) == row[6]


@pytest.mark.parametrize("key", ["", "a", "b0", "a!", "a00", "é0", "0a", "A" + "0" * 26])
def test_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        between(key, None)


def test_smallest_and_greatest_key_without_a_fraction_have_neighbours() -> None:
    smallest = "A" + "0" * 25 + "1"
    assert between(None, smallest) < smallest
    greatest = "z" * 27
    assert between(greatest, None) > greatest


@pytest.mark.parametrize("order", [None, 3, "", "a b", "é", "a" * 2000, ["a0"]])
def test_invalid_order_sorts_first(order: object) -> None:
    assert sort_key(order) == ""


@given(keys(), keys(), st.integers(0, 300))
def test_keys_between_two_keys_are_in_order_and_short(one: str, other: str, count: int) -> None:
    low, high = sorted((one, other))
    for bounds in ((None, None), (low, None), (None, high), *([(low, high)] if low < high else [])):
        made = keys_between(*bounds, count)
        row = [*filter(None, bounds[:1]), *made, *filter(None, bounds[1:])]
        assert len(made) == count
        assert row == sorted(set(row))
        assert all(is_key(key) for key in made)
        assert max(map(len, made), default=0) <= max(len(low), len(high)) + 8


@pytest.mark.parametrize("order", ["", "5", "a", "a00", "a-"])
def test_string_of_another_format_is_no_key(order: str) -> None:
    assert not is_key(order)
