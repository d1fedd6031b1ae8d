"""Names that are shown to people and never compared, such as the name of a canvas (docs/decisions/0039)."""

import re
import unicodedata

_REFUSED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of control, format and surrogate characters, and of line and paragraph separators."""

_NONCHARACTERS = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(
        chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
    )
    + "]"
)

_BLANK = frozenset({"Zs", "Mn", "Me"})
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters outside the categories of `_BLANK` that show nothing: fillers, and the empty Braille pattern."""

_JOINERS = "\u200c\u200d"
"""The two format characters that multi-part emoji, and Persian and Indic words, need."""

_REGIONAL_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
"""The flags of regions, such as Scotland: a black flag, and the region's code in tag characters (UTS 51, ED-14a)."""


def check_display_name(text: str) -> str:
    """Return the name in NFC. Raise `ValueError` for a name with a refused character, or with blank characters only.

    The refused characters are control characters, surrogates, noncharacters, line and paragraph separators, and format
    characters, some of which reorder text. Two kinds of format characters are accepted: joiners between two visible
    characters, and the tags in the flags of regions.
    """
    name = unicodedata.normalize("NFC", text)
    checked = _REGIONAL_FLAG.sub("\U0001f3f4", name)
    if _NONCHARACTERS.search(checked):
        raise ValueError("must not have noncharacters")
    for before, each, after in zip(" " + checked, checked, checked[1:] + " ", strict=False):
        if each in _JOINERS:
            if not (_allows_joiner(before) and _allows_joiner(after)):
                raise ValueError("may have joining characters only between two visible characters")
        elif unicodedata.category(each) in _REFUSED:
            raise ValueError("must not have control or format characters")
    if checked and all(_is_blank(each) for each in checked):
        raise ValueError("must have a visible character")
    return name


def _allows_joiner(each: str) -> bool:
    """Return whether a joiner may stand beside this character: True for a visible character and for an accent."""
    return unicodedata.category(each) in ("Mn", "Mc", "Me") or not _is_blank(each)


def _is_blank(each: str) -> bool:
    return each in _JOINERS or each in _BLANK_LETTERS or unicodedata.category(each) in _BLANK
