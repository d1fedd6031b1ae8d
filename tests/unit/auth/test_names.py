"""The canonical forms of usernames, e-mail addresses and passwords, and the keys by which names are compared."""

import unicodedata

import pytest

from svgx_auth import names
from svgx_common.contract.errors import Invalid

INVISIBLE = {
    "zero-width space": "\u200b",
    "zero-width non-joiner": "\u200c",
    "zero-width joiner": "\u200d",
    "left-to-right mark": "\u200e",
    "right-to-left override": "\u202e",
    "isolate": "\u2066",
    "word joiner": "\u2060",
    "invisible times": "\u2062",
    "soft hyphen": "\u00ad",
    "byte order mark": "\ufeff",
    "Mongolian vowel separator": "\u180e",
    "grapheme joiner": "\u034f",
    "variation selector": "\ufe0f",
    "supplementary variation selector": "\U000e0100",
    "tag": "\U000e0061",
    "Hangul filler": "\u3164",
    "halfwidth Hangul filler": "\uffa0",
    "Arabic letter mark": "\u061c",
    "C1 control": "\x85",
}
FORBIDDEN_NAMES = [
    "a b",
    "a\u00a0b",
    "a\u3000b",
    "root\u2028",
    "ﬁx",
    "ſam",
    "Ⅳ",
    "👍",
    "1שלום",
    "x\ud800",
    "\u2800",
]


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
@pytest.mark.parametrize("pattern", ["{}root", "ro{}ot", "root{}"])
def test_name_with_an_invisible_character_is_refused(character: str, pattern: str) -> None:
    """Proves R-AUTH-41: an invisible character in a name of Latin letters is refused; the error names the field."""
    text = pattern.format(character)
    for check, field, value in (
        (names.username, "username", text),
        (names.email, "email", f"{text}@example.org"),
        (names.email, "email", f"ada@{text}.org"),
    ):
        with pytest.raises(Invalid, match=f"^{field}: ") as refusal:
            check(value)
        assert refusal.value.field == field


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
@pytest.mark.parametrize("pattern", ["{}root", "ro{}ot", "root{}"])
def test_stored_name_with_an_invisible_character_has_the_key_of_its_visible_characters(
    character: str, pattern: str
) -> None:
    """Proves R-AUTH-41: a new name cannot look like an old name with an invisible character: both have the same key."""
    assert names.name_key(pattern.format(character)) == names.name_key("root")


@pytest.mark.parametrize("text", FORBIDDEN_NAMES, ids=ascii)
def test_name_with_a_forbidden_character_is_refused(text: str) -> None:
    """Proves R-AUTH-41: RFC 8265 forbids spaces, symbols, compatibility characters and mixed writing directions."""
    with pytest.raises(Invalid) as refusal:
        names.username(text)
    assert refusal.value.field == "username"
    names.name_key(text)  # a name that was stored before this rule still has a key


def test_name_that_is_too_long_in_its_stored_form_is_refused() -> None:
    """Proves R-AUTH-41: the length of a name is checked in NFC, in which one letter can become three characters."""
    letter = "\ufb2c"  # becomes shin, dagesh and shin dot
    assert len(names.username(letter * 84)) == 252
    assert names.username("x" * 254) == "x" * 254
    for check, field, text in (
        (names.username, "username", letter * 85),
        (names.email, "email", f"{letter * 42}@{letter * 42}.il"),
    ):
        with pytest.raises(Invalid, match=f"^{field}: .* 254 characters") as refusal:
            check(text)
        assert (refusal.value.field, refusal.value.limit) == (field, 254)


@pytest.mark.parametrize("text", ["a", "@", "a@", "@b", "a@b@c", "a\uff20b@c"], ids=ascii)
def test_address_without_one_at_sign_is_refused(text: str) -> None:
    """Proves R-AUTH-41: an address has one @, between a name and a domain. A fullwidth @ counts as an @."""
    with pytest.raises(Invalid) as refusal:
        names.email(text)
    assert refusal.value.field == "email"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Root", "Root"),
        ("a.b-c_d+e!", "a.b-c_d+e!"),
        ("e\u0301loi\u0308se", "éloïse"),
        ("ｒｏｏｔ１", "root1"),
        ("\u212a", "K"),
        ("Ада", "Ада"),
        ("王芳", "王芳"),
        ("שלום1", "שלום1"),
        ("ｶﾅ", "カナ"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
    ids=ascii,
)
def test_name_is_stored_in_its_canonical_form(text: str, stored: str) -> None:
    """Proves R-AUTH-41: a name is stored in NFC, with ASCII for wide letters, in the case in which it was entered."""
    assert names.username(text) == stored
    assert names.username(stored) == stored
    assert names.email(f"{text}@{text}.org") == f"{stored}@{stored}.org"


SAME_KEY = [
    ("Root", "rOOT"),
    ("é", "e\u0301"),
    ("ｒｏｏｔ", "root"),
    ("K", "\u212a"),
    ("ÅSA", "a\u030asa"),
    ("σ", "Σ"),
    ("Éva@Example.ORG", "e\u0301va@example.org"),
    ("ada@bücher.example", "ada@BU\u0308CHER.example"),
    ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ("ada＠example.org", "ada@example.org"),
    ("ﬁx", "fix"),
    ("ราฺม", "ราฺ\u200cม"),
    ("ราฺม", "ราฺ\u200dม"),
    ("कन्या", "कन्\u200dया"),
    ("میخواهم", "می\u200cخواهم"),
    ("ada@कन्या.example", "ada@कन्\u200dया.example"),
    ("ada@कन्या.example", "ada@xn--" + "कन्\u200dया".encode("punycode").decode() + ".example"),
]
DIFFERENT_KEYS = [
    ("root", "toor"),
    ("a@b.org", "a@c.org"),
    ("a", "á"),
    ("a-b", "ab"),
    ("a.b", "ab"),
    ("ı", "i"),
]


@pytest.mark.parametrize(("one", "other"), SAME_KEY, ids=ascii)
def test_names_that_look_alike_have_one_key(one: str, other: str) -> None:
    """Proves R-AUTH-41: case, composition, width, joiners, ligatures and the encoding of a domain do not matter."""
    assert names.name_key(one) == names.name_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT_KEYS, ids=ascii)
def test_different_names_have_different_keys(one: str, other: str) -> None:
    """Proves R-AUTH-41: names that a reader can tell apart stay different."""
    assert names.name_key(one) != names.name_key(other)


@pytest.mark.parametrize(
    "text", ["", "@", "\x01", "\u200b", "xn--", "a@xn--a\x85", "a@..", "\U0010ffff"], ids=ascii
)
def test_every_text_has_a_key(text: str) -> None:
    """Proves R-AUTH-41: the key of any text that a client enters can be computed."""
    names.name_key(text)


PHRASE = "e\u0301loi\u0308se, 7 lanterns"


@pytest.mark.parametrize(
    "typed",
    [
        PHRASE,
        unicodedata.normalize("NFC", PHRASE),
        PHRASE.replace(" ", "\u00a0"),
        PHRASE.replace(" ", "\u3000"),
        PHRASE.replace(" ", "\u202f"),
    ],
    ids=ascii,
)
def test_password_has_one_form_for_all_keyboards(typed: str) -> None:
    """Proves R-AUTH-42: a password has the same form for each Unicode composition and each kind of space."""
    assert names.password(typed) == unicodedata.normalize("NFC", PHRASE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Abc", "abc"),
        ("ａ", "a"),
        ("ﬁ", "fi"),
        ("a b", "ab"),
        ("a\u200bb", "ab"),
        ("a\x00", "a"),
        (" a", "a"),
    ],
    ids=ascii,
)
def test_password_keeps_its_characters(one: str, other: str) -> None:
    """Proves R-AUTH-42: in a password, case and width matter, and no character is refused or removed."""
    assert names.password(one) != names.password(other)


@pytest.mark.parametrize(
    "text", ["\x00\n\x7f a 😀", "e\u0301\x01\u00a0", "\U000e0061", "\u0378"], ids=ascii
)
def test_password_that_opaque_string_forbids_is_prepared_too(text: str) -> None:
    """Proves R-AUTH-42: a password with characters that OpaqueString (RFC 8265) forbids is not refused.

    Its spaces and its composition are normalized as in every other password.
    """
    assert names.password(text) == unicodedata.normalize("NFC", text.replace("\u00a0", " "))
