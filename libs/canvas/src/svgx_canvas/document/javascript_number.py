"""The text of a number, as JavaScript writes it.

Clients may store a number where SVG needs text. A browser turns it into text when it sets the attribute, so an export
must use the same text (ECMAScript 2025, 6.1.6.1.20, Number::toString).
"""

from decimal import Decimal


def number_text(value: float) -> str:
    """Return the decimal text of a finite number. An `int` stands for a BigInt, which is written with all digits."""
    if isinstance(value, int):
        return str(value)
    if value == 0:
        return "0"
    # Python and JavaScript choose the same digits: the fewest that identify the number.
    sign, digit_numbers, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    digits = "".join(map(str, digit_numbers))
    return "-" * sign + _place_point(digits, len(digits) + exponent)


def _place_point(digits: str, point: int) -> str:
    """Return the digits with a decimal point after the first `point` digits, or with an exponent."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e{point - 1:+d}"
