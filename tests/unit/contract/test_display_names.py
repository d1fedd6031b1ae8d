"""Names of canvases and API keys need a visible character, and may not have characters that hide or reorder text."""

import pytest
from pydantic import ValidationError

from svgx_common.contract.api_keys import CreateApiKeyRequest
from svgx_common.contract.state import CreateCanvasRequest, RenameCanvasRequest

REFUSED = {
    "NUL": "a\x00b",
    "escape": "a\x1bb",
    "delete": "a\x7fb",
    "C1 control": "a\x85b",
    "line feed": "a\nb",
    "soft hyphen": "a\u00adb",
    "zero-width space": "a\u200bb",
    "left-to-right mark": "a\u200eb",
    "right-to-left override": "\u202ea",
    "embedding": "a\u202bb",
    "isolate": "a\u2067b",
    "word joiner": "a\u2060b",
    "byte order mark": "\ufeffa",
    "Arabic letter mark": "a\u061cb",
    "annotation": "a\ufff9b",
    "tag": "a\U000e0061b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "noncharacter": "a\uffffb",
    "last noncharacter": "a\U0010fffeb",
    "joiner at the start": "\u200da",
    "joiner at the end": "a\u200c",
    "two joiners": "a\u200d\u200db",
    "joiner beside a space": "a \u200db",
    "only a filler": "\u3164",
    "only empty Braille": "\u2800\u2800",
    "only a variation selector": "\ufe0f",
    "only an accent": "\u0301",
    "only a no-break space": "\u00a0",
    "flag with a hidden text": "\U0001f3f4"
    + "".join(chr(0xE0000 + ord(each)) for each in "ignoreall")
    + "\U000e007f",
}
ACCEPTED = {
    "words": "Floor plan, 2nd",
    "Cyrillic": "План",
    "Han": "平面図",
    "Arabic": "مخطط",
    "Persian with a non-joiner": "می\u200cخواهم",
    "Hindi with a joiner": "क्\u200dष",
    "emoji": "🎨 art",
    "emoji of several parts": "👩\u200d🚀 and 🏳️\u200d🌈",
    "emoji with a colour": "👍🏽",
    "flag of a region": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "symbols": "a/b\\c <d> \"e\" & 'f' %",
}


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_name_with_invisible_or_reordering_characters_is_refused(name: str) -> None:
    """Proves R-CONTRACT-7: the error names the field."""
    for request in (
        lambda: CreateCanvasRequest(name=name),
        lambda: RenameCanvasRequest(canvas_id="a", name=name),
        lambda: CreateApiKeyRequest(name=name),
    ):
        with pytest.raises(ValidationError) as refusal:
            request()
        assert [error["loc"] for error in refusal.value.errors()] == [("name",)]


@pytest.mark.parametrize("name", ACCEPTED.values(), ids=ACCEPTED)
def test_visible_name_is_accepted_unchanged(name: str) -> None:
    """Proves R-CONTRACT-7: names in every language, and emoji, are accepted."""
    assert CreateCanvasRequest(name=name).name == name
    assert CreateApiKeyRequest(name=name).name == name


def test_name_is_stored_in_nfc() -> None:
    """Proves R-CONTRACT-7: a search finds the name, even if a keyboard writes accents as separate characters."""
    assert (
        CreateCanvasRequest(name="e\u0301").name == CreateApiKeyRequest(name="e\u0301").name == "é"
    )
