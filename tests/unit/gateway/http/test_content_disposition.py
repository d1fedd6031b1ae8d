"""The name of a download in `Content-Disposition`. Proves R-STATE-17."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_gateway.http.operations import content_disposition

_VALUE = re.compile(
    r"""attachment; filename="([A-Za-z0-9-]+\.[a-z]+)"; filename\*=UTF-8''([!#$&+\-.^_`|~0-9A-Za-z%]+)"""
)


@pytest.mark.parametrize(
    ("filename", "ascii_name", "full"),
    [
        ("Plan.svg", "Plan.svg", "Plan.svg"),
        ("My plan.json", "My-plan.json", "My%20plan.json"),
        ("План.svg", "canvas.svg", "%D0%9F%D0%BB%D0%B0%D0%BD.svg"),
        ("План 2.svg", "2.svg", "%D0%9F%D0%BB%D0%B0%D0%BD%202.svg"),
        ("日本.png", "canvas.png", "%E6%97%A5%E6%9C%AC.png"),
        ("🎨.yjs", "canvas.yjs", "%F0%9F%8E%A8.yjs"),
        ("café Straße.svg", "cafe-Strasse.svg", "caf%C3%A9%20Stra%C3%9Fe.svg"),
        ("Łódź Ærø.svg", "Lodz-AEro.svg", "%C5%81%C3%B3d%C5%BA%20%C3%86r%C3%B8.svg"),
        ("ﬁx ½.svg", "fix-1-2.svg", "%EF%AC%81x%20%C2%BD.svg"),
        ("50%.svg", "50.svg", "50%25.svg"),
        ("a;b=c, 'd'.svg", "a-b-c-d.svg", "a%3Bb%3Dc%2C%20%27d%27.svg"),
        ("a(1)*.svg", "a-1.svg", "a%281%29%2A.svg"),
        ("a.b.svg", "a-b.svg", "a.b.svg"),
        ("x" * 200 + ".svg", "x" * 80 + ".svg", "x" * 200 + ".svg"),
    ],
)
def test_download_name_is_given_in_ascii_and_in_full(
    filename: str, ascii_name: str, full: str
) -> None:
    """`filename` has the name in ASCII. `filename*` has the full name, encoded as RFC 8187 says. Proves R-STATE-17."""
    expected = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{full}"
    assert content_disposition(filename) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_download_name_of_any_text_is_one_header_value(name: str) -> None:
    """Any name gives a value in ASCII, from which the name can be read back. Proves R-STATE-17."""
    match = _VALUE.fullmatch(content_disposition(f"{name}.svg"))
    assert match is not None
    assert unquote(match.group(2)) == f"{name}.svg"
