"""The policy for new passwords: it judges how easy a password is to guess, and not its composition."""

import time

import pytest

from svgx_auth.passwords.policy import refuse_easy
from svgx_common.contract.errors import Invalid

NAMES = ("annabelle.baker", "annabelle.baker@example.org")


@pytest.mark.parametrize(
    "easy",
    [
        "password1234",
        "P@ssw0rd1234",
        "passwordpassword",
        "123456789012",
        "qwertyuiop[]",
        "aaaaaaaaaaaa",
        "letmeinletmein",
        "1qaz2wsx3edc",
        "abcdefghijklmnop",
        "Annabelle.Baker",
        "ANNABELLE.BAKER@example.org",
        "annabelle.baker1",
        "rekab.ellebanna",
        "ab" * 500,
    ],
)
def test_common_and_expected_passwords_are_refused(easy: str) -> None:
    """Proves R-AUTH-14: the error names the field, and does not contain the password."""
    with pytest.raises(Invalid) as error:
        refuse_easy(easy, NAMES, "new_password")
    assert error.value.field == "new_password"
    assert easy not in str(error.value.body())


@pytest.mark.parametrize(
    "easy", ["svgxengine2024", "SVGX3ngine123", "svgx engine 1", "enignexgvs12", "svgx12345678"]
)
def test_variants_of_the_product_name_are_refused(easy: str) -> None:
    """Proves R-AUTH-14: variants of the product's name are refused; a good password may contain them."""
    with pytest.raises(Invalid):
        refuse_easy(easy, NAMES, "password")
    refuse_easy(f"{easy} seven teal lanterns", NAMES, "password")


@pytest.mark.parametrize(
    "good",
    [
        "correct horse battery",
        "all in lower case letters",
        "4031882915574",
        "x7#kQ9mv!pLz",
        "пароль который никто не знает",
        "\x00\n\x7f a long 😀 password",
        "a password that is long enough" * 34,
    ],
)
def test_password_of_any_composition_is_accepted(good: str) -> None:
    """Proves R-AUTH-14: no kind of character is required, and none is refused."""
    refuse_easy(good, NAMES, "password")


def test_judging_the_longest_password_takes_less_than_2_seconds() -> None:
    """Proves R-AUTH-14: judging takes less than 2 s, for the longest password of a pattern that is slow to judge."""
    started = time.perf_counter()
    refuse_easy(("4@8({[<3691!|1|71$5+7%2" * 50)[:1024], NAMES, "password")
    assert time.perf_counter() - started < 2
