"""Fractional indexes: strings that sort by their characters, with room for another one between any two.

The format is the one of the npm package `fractional-indexing` (after David Greenspan, "Implementing Fractional
Indexing"), so that web clients can make keys with it. A key is an integer and a fraction. The integer's first letter
says how many digits follow: `a` one, `b` two, … `z` twenty-six, and downwards `Z` one, `Y` two, … for negative ones.
The fraction is the rest: digits after the point, without trailing zeros. Digits are 0-9A-Za-z in the order of ASCII.
"""

import re

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE = len(DIGITS)
_VALUE = {digit: value for value, digit in enumerate(DIGITS)}
_SMALLEST = "A" + "0" * 26
_KEY = re.compile(r"[0-9A-Za-z]{1,1024}", re.ASCII)


def sort_key(order: object) -> str:
    """What a stored `order` sorts by: itself, or first of all ("") when it is no string of digits."""
    return order if isinstance(order, str) and _KEY.fullmatch(order) else ""


def between(low: str | None, high: str | None) -> str:
    """A key above `low` and below `high`, as short as the format has one; None is the open end.

    Raises ValueError when one of them is no key of this format or they are not in order.
    """
    for key in (low, high):
        if key is not None:
            _check(key)
    if low is not None and high is not None and low >= high:
        raise ValueError(f"{low!r} is not below {high!r}")
    if low is None:
        return _below(high) if high is not None else "a0"
    integer, fraction = _split(low)
    if high is None:
        above = _increment(integer)
        return above if above is not None else integer + _midpoint(fraction, None)
    high_integer, high_fraction = _split(high)
    if integer == high_integer:
        return integer + _midpoint(fraction, high_fraction)
    above = _increment(integer)
    if above is not None and above < high:
        return above
    return integer + _midpoint(fraction, None)


def first_keys(count: int) -> list[str]:
    """The keys of `count` things in a row that are ordered for the first time: consecutive integers, the shortest."""
    keys: list[str] = []
    key: str | None = "a0"
    for _ in range(count):
        assert key is not None  # The integers end after 62 ** 26 of them.
        keys.append(key)
        key = _increment(key)
    return keys


def _below(high: str) -> str:
    integer, fraction = _split(high)
    if integer == _SMALLEST:
        return integer + _midpoint("", fraction)
    if fraction:
        return integer
    below = _decrement(integer)
    assert below is not None
    return below if below != _SMALLEST else below + _midpoint("", None)


def _integer_length(head: str) -> int:
    if "a" <= head <= "z":
        return ord(head) - ord("a") + 2
    if "A" <= head <= "Z":
        return ord("Z") - ord(head) + 2
    raise ValueError(f"no key starts with {head!r}")


def _split(key: str) -> tuple[str, str]:
    length = _integer_length(key[0])
    return key[:length], key[length:]


def _check(key: str) -> None:
    if not key or not all(character in _VALUE for character in key):
        raise ValueError(f"{key!r} is no key")
    if len(key) < _integer_length(key[0]) or key == _SMALLEST or _split(key)[1].endswith("0"):
        raise ValueError(f"{key!r} is no key")


def _increment(integer: str) -> str | None:
    head, digits = integer[0], list(integer[1:])
    for place in reversed(range(len(digits))):
        value = _VALUE[digits[place]] + 1
        if value < _BASE:
            digits[place] = DIGITS[value]
            return head + "".join(digits)
        digits[place] = "0"
    if head == "Z":
        return "a0"
    if head == "z":
        return None
    above = chr(ord(head) + 1)
    return above + "0" * (_integer_length(above) - 1)


def _decrement(integer: str) -> str | None:
    head, digits = integer[0], list(integer[1:])
    for place in reversed(range(len(digits))):
        value = _VALUE[digits[place]] - 1
        if value >= 0:
            digits[place] = DIGITS[value]
            return head + "".join(digits)
        digits[place] = "z"
    if head == "a":
        return "Zz"
    if head == "A":
        return None
    below = chr(ord(head) - 1)
    return below + "z" * (_integer_length(below) - 1)


def _midpoint(low: str, high: str | None) -> str:
    """The digits of a fraction strictly between two fractions; None stands for one."""
    prefix: list[str] = []
    while True:
        place = len(prefix)
        low_digit = _VALUE[low[place]] if place < len(low) else 0
        high_digit = _BASE
        if high is not None:
            high_digit = _VALUE[high[place]] if place < len(high) else 0
        if low_digit == high_digit:
            prefix.append(DIGITS[low_digit])
            continue
        if high_digit - low_digit > 1:
            prefix.append(DIGITS[(low_digit + high_digit + 1) // 2])
            return "".join(prefix)
        # Neighbours: take the lower digit, after which anything above the rest of `low` will do.
        if high is not None and len(high) > place + 1:
            prefix.append(DIGITS[high_digit])
            return "".join(prefix)
        prefix.append(DIGITS[low_digit])
        high = None
