"""The header that names the kinds of content that an export leaves out."""

import pytest

from svgx_canvas import Dropped
from svgx_state.exports import MAX_LEFT_OUT, left_out_header


@pytest.mark.parametrize(
    ("items", "header"),
    [
        ([], None),
        (
            [Dropped("image@href", "attribute_length", 2), Dropped("g", "depth", 24)],
            '"image@href";reason="attribute_length";count=2, "g";reason="depth";count=24',
        ),
        ([Dropped("rect@on\r\nX: y", "event handler", 1)], '"rect@on??X: y";reason="event handler";count=1'),
        ([Dropped('a"b\\c', "attribute", 1)], '"a?b?c";reason="attribute";count=1'),
        ([Dropped("Плана@\u202e\x00", "element", 1)], '"?????@??";reason="element";count=1'),
    ],
)  # fmt: skip
def test_header_is_a_list_of_strings_with_parameters(
    items: list[Dropped], header: str | None
) -> None:
    """A name that a client chose adds no forbidden character to the header. Proves R-STATE-17."""
    assert left_out_header(items) == header


def test_header_is_short() -> None:
    """All kinds after the first `MAX_LEFT_OUT` are counted together. Proves R-STATE-17."""
    items = [Dropped("x" * 200, "attribute", 3) for _ in range(200)]
    header = left_out_header(items)
    assert header is not None
    assert len(header) < 8192
    assert header.endswith(f'"others";reason="others";count={3 * (200 - MAX_LEFT_OUT)}')
