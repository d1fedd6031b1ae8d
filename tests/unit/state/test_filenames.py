"""The file name of an export, made of the canvas's name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_state.exports import filename


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Plan", "Plan.svg"),
        ("Erdgeschoß 2. Entwurf", "Erdgescho-2-Entwurf.svg"),
        ("Café", "Cafe.svg"),
        ("../../etc/passwd", "etc-passwd.svg"),
        ('a"; filename=b\r\nX: y', "a-filename-b-X-y.svg"),
        ("日本", "canvas.svg"),
        ("...", "canvas.svg"),
    ],
)
def test_filename_keeps_ascii_letters_and_digits(name: str, expected: str) -> None:
    """ASCII letters and digits stay; other characters become hyphens or vanish. Proves R-STATE-17."""
    assert filename(name, "svg") == expected


@given(st.text(max_size=300))
def test_filename_of_any_name_is_safe(name: str) -> None:
    """The file name of any canvas name has only ASCII letters, digits and hyphens. Proves R-STATE-17."""
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,79}\.png", filename(name, "png"))
