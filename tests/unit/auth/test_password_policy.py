"""The policy for new passwords: a password must be hard to guess. Its composition does not matter."""

import time

import pytest

from svgx_auth.passwords.policy import JUDGED_LENGTH, refuse_easy
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


def judging_seconds(password: str) -> float:
    """Return the seconds of processor time that judging a password takes."""
    started = time.process_time()
    refuse_easy(password, NAMES, "password")
    return time.process_time() - started


def test_judging_a_long_password_takes_no_longer_than_judging_its_beginning() -> None:
    """Proves R-AUTH-14: even for a pattern that is slow to judge, the time does not grow with the password's length."""
    password = ("4@8({[<3691!|1|71$5+7%2" * 50)[:1024]
    assert judging_seconds(password) < 4 * judging_seconds(password[:JUDGED_LENGTH])
