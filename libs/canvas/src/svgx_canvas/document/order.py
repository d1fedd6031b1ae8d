"""Fractional indexes, here called keys: strings that sort by their characters. There is a key between any two keys.

The keys have the format of the npm package `fractional-indexing` (after David Greenspan, "Implementing Fractional
Indexing"), so that web clients can use that package. A key is an integer and a fraction. The integer begins with a
letter that says how many digits follow: `a` means one digit, `b` two, and `z` twenty-six. For a negative integer, `Z`
means one digit, and `Y` two. The fraction is the rest of the key: the digits that would follow a decimal point, without
trailing zeros. Digits are 0-9A-Za-z in ASCII order.
"""

import re

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE = len(DIGITS)
_VALUE = {digit: value for value, digit in enumerate(DIGITS)}
_SMALLEST = "A" + "0" * 26
"""The smallest integer. Alone, it is not a key, because no key would be below it. With a fraction, it is a key."""
_KEY = re.compile(r"[0-9A-Za-z]{1,1024}", re.ASCII)


def sort_key(order: object) -> str:
    """Return the string by which an element with this stored `order` is sorted.

    A string of 1 to 1,024 digits is returned as it is. Any other value becomes "", which sorts first.
    """
    return order if isinstance(order, str) and _KEY.fullmatch(order) else ""


def between(low: str | None, high: str | None) -> str:
    """Return a short key above `low` and below `high`. None stands for an open end.

    Raises ValueError if an argument is not a key of this format, or if `low` is not below `high`.
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


def is_key(order: str) -> bool:
    """Return whether a string is a key of this format."""
    try:
        _check(order)
    except ValueError:
        return False
    return True


def keys_between(low: str | None, high: str | None, count: int) -> list[str]:
    """Return `count` ascending keys above `low` and below `high`, which may be None as in `between`.

    The length of the keys grows with the logarithm of `count`.
    """
    if high is None:
        keys: list[str] = []
        for _ in range(count):
            low = between(low, None)
            keys.append(low)
        return keys
    if not count:
        return []
    middle = between(low, high)
    before = count // 2
    return [
        *keys_between(low, middle, before),
        middle,
        *keys_between(middle, high, count - 1 - before),
    ]


def first_keys(count: int) -> list[str]:
    """Return `count` ascending keys for a new list: consecutive integers from "a0", the shortest keys."""
    keys: list[str] = []
    key: str | None = "a0"
    for _ in range(count):
        assert key is not None  # None would follow only after more than 62 ** 26 keys.
        keys.append(key)
        key = _increment(key)
    return keys


def _below(high: str) -> str:
    """Return a short key below `high`."""
    integer, fraction = _split(high)
    if integer == _SMALLEST:
        return integer + _midpoint("", fraction)
    if fraction:
        return integer
    below = _decrement(integer)
    assert below is not None
    return below if below != _SMALLEST else below + _midpoint("", None)


def _integer_length(head: str) -> int:
    """Return the length of an integer that begins with the letter `head`. The length includes this letter."""
    if "a" <= head <= "z":
        return ord(head) - ord("a") + 2
    if "A" <= head <= "Z":
        return ord("Z") - ord(head) + 2
    raise ValueError(f"not a key: it starts with {head!r}")


def _split(key: str) -> tuple[str, str]:
    """Return the integer and the fraction of a key."""
    length = _integer_length(key[0])
    return key[:length], key[length:]


def _check(key: str) -> None:
    if not key or not all(character in _VALUE for character in key):
        raise ValueError(f"not a key: {key!r}")
    if len(key) < _integer_length(key[0]) or key == _SMALLEST or _split(key)[1].endswith("0"):
        raise ValueError(f"not a key: {key!r}")


def _increment(integer: str) -> str | None:
    """Return the next larger integer, or None after the largest one."""
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
    """Return the next smaller integer, or None before the smallest one."""
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
    """Return the digits of a fraction above `low` and below `high`. If `high` is None, the result is below 1."""
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
        # The digits are consecutive. Use the higher one if `high` has digits left. Otherwise use the lower one; the
        # next digits only have to be above the rest of `low`.
        if high is not None and len(high) > place + 1:
            prefix.append(DIGITS[high_digit])
            return "".join(prefix)
        prefix.append(DIGITS[low_digit])
        high = None
