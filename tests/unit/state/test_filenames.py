"""The file name of an export, made of the canvas's name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_state.exports import filename


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Plan", "Plan"),
        ("Erdgeschoß 2. Entwurf", "Erdgeschoß 2. Entwurf"),
        ("Café", "Café"),
        ("Cafe\u0301", "Café"),
        ("café Straße", "café Straße"),
        ("План", "План"),
        ("日本", "日本"),
        ("مخطط", "مخطط"),
        ("नक्शा", "नक्शा"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("🎨", "🎨"),
        ("👩🏽\u200d🎨 ❤️", "👩🏽\u200d🎨 ❤️"),
        ("100%", "100%"),
        ("it's; a=b, (c) & 'd'", "it's; a=b, (c) & 'd'"),
        ("  a \t b  ", "a - b"),
        ("a\u00a0\u3000b", "a b"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\temp\\x", "C-temp-x"),
        ('a"; filename=b\r\nX: y', "a-; filename=b-X- y"),
        ("a<b>c|d?e*f", "a-b-c-d-e-f"),
        ("a\x00b\x9fc", "a-b-c"),
        ("photo\u202egpj", "photogpj"),
        ("\u2066a\u2069\u200b\ufeff\u00adb", "ab"),
        ("a\u2028b\ue000\ud800", "ab"),
        (".profile", "profile"),
        ("-rf", "rf"),
        ("a. .", "a"),
        ("...", "canvas"),
        ("", "canvas"),
        ("\u200d", "canvas"),
        ("///", "canvas"),
        ("con", "canvas-con"),
        ("NUL.txt", "canvas-NUL.txt"),
        ("lpt1", "canvas-lpt1"),
        ("console", "console"),
        ("x" * 300, "x" * 200),
        ("日" * 100, "日" * 66),
        ("a" * 198 + "é", "a" * 198 + "é"),
        ("a" * 199 + "é", "a" * 199),
        ("a" * 199 + "x\u0323\u0324", "a" * 199),
        ("a" * 192 + "👩🏽\u200d🎨", "a" * 192),
    ],
)
def test_filename_keeps_the_name_as_far_as_file_systems_allow(name: str, expected: str) -> None:
    """Letters of all scripts and emoji stay, with the joiners inside them.

    Reserved characters and controls become hyphens. Other invisible characters are removed. Proves R-STATE-17.
    """
    assert filename(name, "svg") == f"{expected}.svg"


@given(st.text(max_size=300))
def test_filename_of_any_name_is_safe(name: str) -> None:
    """All file systems accept the file name that is made of any canvas name. Proves R-STATE-17."""
    found = filename(name, "png")
    assert len(found.encode("utf-8")) <= 204
    assert found.endswith(".png")
    assert not set(found) & set('<>:"/\\|?*')
    assert found[0] not in " .-"
    assert all(
        character in "\u200c\u200d" or unicodedata.category(character)[0] != "C"
        for character in found
    )
