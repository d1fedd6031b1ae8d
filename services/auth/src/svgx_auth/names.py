"""Usernames, e-mail addresses and passwords in their canonical Unicode forms (docs/decisions/0039).

PRECIS (RFC 8265) decides which characters a new name may have, and which spellings are the same name. Names that were
stored before this rule are kept, and their accounts can still log in.
"""

import unicodedata

from precis_i18n import get_profile
from precis_i18n.profile import Profile

from svgx_common.contract.auth import MAX_NAME_LENGTH
from svgx_common.contract.errors import Invalid

_STORED_PROFILE = get_profile("UsernameCasePreserved")
_COMPARED_PROFILE = get_profile("UsernameCaseMapped")
_PASSWORD_PROFILE = get_profile("OpaqueString")

_REASONS = {
    "DISALLOWED/precis_ignorable_properties": "has an invisible character",
    "DISALLOWED/controls": "has a control character",
    "DISALLOWED/spaces": "has a space",
    "DISALLOWED/symbols": "has a symbol",
    "DISALLOWED/has_compat": "has a compatibility character, such as a ligature or a superscript",
    "DISALLOWED/bidi_rule": "mixes writing directions in a way that displays its characters in another order",
}
_INVISIBLE_CHARACTERS = frozenset(
    [
        *"\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0\u180b\u180c\u180d\u180f",
        *map(chr, range(0xFE00, 0xFE10)),
        *map(chr, range(0xE0100, 0xE01F0)),
    ]
)
"""Invisible characters that are not in the category Cf (Unicode: Default_Ignorable_Code_Point)."""

_WITHOUT_JOINERS = {0x200C: None, 0x200D: None}
"""Removes the zero-width joiner and non-joiner. RFC 5892 permits both in names of some scripts."""


def username(text: str, field: str = "username") -> str:
    """Return the stored form of a new username: in NFC, with ASCII letters in place of wide letters.

    Raises `Invalid`, naming `field`.
    """
    return _check_length(_new_name(text, field), field)


def email(text: str, field: str = "email") -> str:
    """Return a new e-mail address as it is stored, with each part in the form that `username` returns.

    Raises `Invalid`, naming `field`.
    """
    local, at, domain = unicodedata.normalize("NFC", text).replace("\uff20", "@").partition("@")
    if not (local and at and domain) or "@" in domain:
        raise Invalid(f"{field}: must have one @ between a name and a domain", field=field)
    # Check each label by itself, because the rule about writing directions applies to single labels (RFC 5893).
    labels = (_new_name(label, field) for label in domain.split("."))
    return _check_length(f"{_new_name(local, field)}@{'.'.join(labels)}", field)


def name_key(text: str) -> str:
    """Return the key of a username or an e-mail address. Two texts with the same key are the same name.

    A key has no joiners, although a name may have them.

    The key of a text that is not a valid name consists of the text's visible characters. Therefore an old name with
    invisible characters has the same key as a new name that looks the same, and the new name is refused.
    """
    local, at, domain = text.replace("\uff20", "@").partition("@")
    try:
        if not at or not local or not domain or "@" in domain:
            return _compared(text)
        return f"{_compared(local)}@{_domain_key(domain)}"
    except UnicodeEncodeError:
        return _visible(text)


def password(text: str) -> str:
    """Return a password in the form that is hashed: NFC, with ASCII spaces for other spaces (RFC 8265, OpaqueString).

    A text that OpaqueString forbids, such as a text with a control character, is not refused, because there are no
    rules about the characters of a password. Such a text gets the same form.
    """
    try:
        return _enforce(_PASSWORD_PROFILE, text)
    except UnicodeEncodeError:
        spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
        return unicodedata.normalize("NFC", spaced)


def _check_length(name: str, field: str) -> str:
    """Return the stored form of a name. Raises `Invalid` if it is too long, because NFC lengthens some letters."""
    if len(name) > MAX_NAME_LENGTH:
        raise Invalid(
            f"{field}: has more than {MAX_NAME_LENGTH} characters in its stored form (NFC)",
            field=field,
            limit=MAX_NAME_LENGTH,
        )
    return name


def _new_name(text: str, field: str) -> str:
    try:
        stored = _enforce(_STORED_PROFILE, text)
        _enforce(_COMPARED_PROFILE, stored)
    except UnicodeEncodeError as error:
        reason = _REASONS.get(error.reason, "has a character that names must not have")
        raise Invalid(f"{field}: {reason} (RFC 8265)", field=field) from None
    return stored


def _enforce(profile: Profile, text: str) -> str:
    """Return the form of a text in a PRECIS profile. Raises `UnicodeEncodeError` when the profile forbids the text."""
    return profile.enforce(text)


def _compared(text: str) -> str:
    """Return the form in which names are compared. Raises `UnicodeEncodeError` when RFC 8265 forbids the text."""
    return _enforce(_COMPARED_PROFILE, text.translate(_WITHOUT_JOINERS))


def _domain_key(domain: str) -> str:
    """Return the key of a domain. Both forms of an internationalized domain have the same key (RFC 5890)."""
    return ".".join(_label_key(label) for label in domain.split("."))


def _label_key(label: str) -> str:
    key = _compared(label) if label else ""
    if key.startswith("xn--"):
        try:
            return _compared(key[4:].encode("ascii").decode("punycode"))
        except UnicodeError:
            return key
    return key


def _visible(text: str) -> str:
    """Return the visible characters of a text, case-folded, and in the compatibility form (NFKC)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    visible = (
        each
        for each in folded
        if unicodedata.category(each) not in ("Cf", "Cc") and each not in _INVISIBLE_CHARACTERS
    )
    return unicodedata.normalize("NFC", "".join(visible))
