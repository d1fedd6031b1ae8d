"""The policy for new passwords: they are long and not easy to guess. There are no rules about composition.

NIST SP 800-63B-4, section 3.1.1.2, forbids rules about composition. It requires a minimum length, and a list of refused
passwords: common passwords, and expected ones such as the names of the account. zxcvbn provides the list
(docs/decisions/0008).
"""

from zxcvbn_rs_py import zxcvbn

from svgx_common.contract.errors import Invalid

MAX_EASY_SCORE = 1
"""The highest zxcvbn score that is refused. A password with this score takes fewer than a million guesses."""

MIN_LENGTH = 12
"""The smallest number of characters, as in the contract's `NewPassword`."""

EXPECTED_WORDS = ("svgx", "svgxengine", "svgx-engine", "svgx engine")
"""Words that attackers try for this product, in addition to the account's names."""

JUDGED_LENGTH = 48
"""Largest number of characters, from the beginning of a password, that zxcvbn judges.

zxcvbn keeps Python's interpreter lock, so the whole service waits for the judgement. Its time grows with the square of
this number, and with the number of ways to replace the characters in `AMBIGUOUS_CHARACTERS` by letters.
"""

AMBIGUOUS_CHARACTERS = frozenset("@4({[<691!|7$5+")
"""Characters that have several readings as replaced letters, in combination with each other (zxcvbn's l33t table).

`1` stands for i or l, and both `@` and `4` stand for a. zxcvbn tries all combinations of these readings.
"""

MAX_AMBIGUOUS = 6
"""Largest number of different characters in `AMBIGUOUS_CHARACTERS` in the judged beginning of a password.

The first `MIN_LENGTH` characters are judged even if they have more. All digits together have six, so digits and
dates do not shorten the judged beginning.
"""


def refuse_easy(password: str, names: tuple[str, ...], field: str) -> None:
    """Raise `Invalid`, naming `field`, for a password that is short, common or one of `names`, or follows a pattern.

    `names` and `EXPECTED_WORDS` are also recognized as parts of the password, reversed, and with replaced letters.
    """
    # The contract checks the length of the typed password, but its canonical form may be shorter.
    if len(password) < MIN_LENGTH:
        raise Invalid(
            f"{field}: must have at least {MIN_LENGTH} characters", field=field, limit=MIN_LENGTH
        )
    if password.casefold() in {name.casefold() for name in names}:
        raise Invalid(f"{field}: must not be the username or the e-mail address", field=field)
    judged = judged_beginning(password)
    if int(zxcvbn(judged, [*names, *EXPECTED_WORDS]).score) <= MAX_EASY_SCORE:
        raise Invalid(
            f"{field}: is common or follows a simple pattern; use several unrelated words",
            field=field,
        )


def judged_beginning(password: str) -> str:
    """Return the beginning of a password that zxcvbn judges.

    It has at least `MIN_LENGTH` characters. A password is at least as hard to guess as its beginning.
    """
    ambiguous: set[str] = set()
    for index, character in enumerate(password[:JUDGED_LENGTH]):
        if character in AMBIGUOUS_CHARACTERS:
            ambiguous.add(character)
        if len(ambiguous) > MAX_AMBIGUOUS:
            return password[: max(index, MIN_LENGTH)]
    return password[:JUDGED_LENGTH]
