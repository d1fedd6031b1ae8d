"""Which new passwords are taken: long ones that are not easy to guess, whatever they are composed of.

NIST SP 800-63B-4, 3.1.1.2: a minimum length, no rules of composition, and a list of what is common or expected, such as
the names of the account. The list is zxcvbn's (docs/decisions/0008).
"""

from zxcvbn_rs_py import zxcvbn

from svgx_common.contract.errors import Invalid

EASY = 1
"""zxcvbn's score up to which a password is refused: fewer than a million guesses."""

EXPECTED = ("svgx", "svgxengine", "svgx-engine", "svgx engine")
"""Words of this place, beside the account's names: who guesses tries them."""

LOOKED_AT = 64
"""Characters that are judged: the time to do so grows with their square."""


def refuse_easy(password: str, names: tuple[str, ...], field: str) -> None:
    """Raise `Invalid`, naming `field`, for a password that is common, follows a pattern, or is one of `names`.

    Names and `EXPECTED` words are found inside the password, reversed and with letters replaced, too.
    """
    if password.casefold() in {name.casefold() for name in names}:
        raise Invalid(f"{field}: must not be the username or the e-mail address", field=field)
    if int(zxcvbn(password[:LOOKED_AT], [*names, *EXPECTED]).score) <= EASY:
        raise Invalid(
            f"{field}: is common or follows a simple pattern; take several unrelated words",
            field=field,
        )
