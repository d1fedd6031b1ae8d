"""The text of a number that a client writes into a document. Node.js has produced the expected texts."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_canvas import export_json, export_svg
from svgx_canvas.document.javascript_number import number_text
from tests.unit.canvas.client_documents import document

_NUMBERS: list[tuple[float, str]] = [
    (0.0, "0"),
    (-0.0, "0"),
    (1.0, "1"),
    (-1.0, "-1"),
    (10.0, "10"),
    (100.5, "100.5"),
    (-0.5, "-0.5"),
    (0.1, "0.1"),
    (0.1 + 0.2, "0.30000000000000004"),
    (1 / 3, "0.3333333333333333"),
    (123456789.125, "123456789.125"),
    (0.001, "0.001"),
    (0.0001, "0.0001"),
    (0.00001, "0.00001"),
    (0.000001, "0.000001"),
    (0.0000012, "0.0000012"),
    (0.000000123, "1.23e-7"),
    (1e-7, "1e-7"),
    (-1e-7, "-1e-7"),
    (1.5e-10, "1.5e-10"),
    (5e-324, "5e-324"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"),
    (2147483647.0, "2147483647"),
    (2147483648.0, "2147483648"),
    (9007199254740991.0, "9007199254740991"),
    (9007199254740992.0, "9007199254740992"),
    (9007199254740994.0, "9007199254740994"),
    (2.0**60, "1152921504606847000"),
    (1e15, "1000000000000000"),
    (1e16, "10000000000000000"),
    (1e17, "100000000000000000"),
    (1.5e17, "150000000000000000"),
    (1e20, "100000000000000000000"),
    (123456789012345680000.0, "123456789012345680000"),
    (999999999999999900000.0, "999999999999999900000"),
    (1e21, "1e+21"),
    (-1e21, "-1e+21"),
    (1.2345e21, "1.2345e+21"),
    (1e22, "1e+22"),
    (1e23, "1e+23"),
    (1e100, "1e+100"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
]


@pytest.mark.parametrize(("value", "text"), _NUMBERS)
def test_number_is_written_as_javascript_writes_it(value: float, text: str) -> None:
    """A number has the text that `String(number)` returns in JavaScript. Proves R-DOC-4."""
    assert number_text(value) == text


@pytest.mark.parametrize("value", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_big_integer_keeps_all_digits(value: int) -> None:
    """A BigInt has the text that `String(bigint)` returns in JavaScript. Proves R-DOC-4."""
    assert number_text(value) == str(value)


@given(st.integers(0, 2**64 - 1))
def test_text_of_any_number_is_read_as_the_same_number(bits: int) -> None:
    """Reading the text gives the number again. Proves R-DOC-4."""
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    if math.isfinite(value):
        assert float(number_text(value)) == value


def test_numbers_of_a_client_are_exported_as_javascript_writes_them() -> None:
    """Numbers in attributes, in the root's attributes and in texts are exported as text. Proves R-DOC-4."""
    elements: dict[str, object] = {
        "a": {"tag": "rect", "attrs": {"x": 1e21, "y": 1e-7, "width": 0.000001, "height": -0.0}},
        "t": {"tag": "text", "order": "a1"},
        "c": {"tag": "#text", "parent": "t", "text": 1.5e-8},
    }
    state = document(elements, {"width": 1e20, "data-nan": math.nan})
    svg = export_svg(state).decode()
    assert '<rect height="0" width="0.000001" x="1e+21" y="1e-7"/><text>1.5e-8</text>' in svg
    assert 'width="100000000000000000000">' in svg
    for text in ('"1e+21"', '"1e-7"', '"0.000001"', '"1.5e-8"'):
        assert text in export_json(state).decode()
