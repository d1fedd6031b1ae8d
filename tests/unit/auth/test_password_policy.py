"""Which passwords are taken: by how easy they are to guess, not by what they are made of."""

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
def test_common_and_expected_ones_are_refused(easy: str) -> None:
    """Proves R-AUTH-14: the field is named, the password is not."""
    with pytest.raises(Invalid) as refused:
        refuse_easy(easy, NAMES, "new_password")
    assert refused.value.field == "new_password"
    assert easy not in str(refused.value.body())


@pytest.mark.parametrize(
    "easy", ["svgxengine2024", "SVGX3ngine123", "svgx engine 1", "enignexgvs12", "svgx12345678"]
)
def test_words_of_this_place_are_refused(easy: str) -> None:
    """Proves R-AUTH-14: the product's name, whatever is done to it; a good password may have it in it."""
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
def test_composition_does_not_matter(good: str) -> None:
    """Proves R-AUTH-14: no character is asked for, and none is refused."""
    refuse_easy(good, NAMES, "password")


def test_judging_takes_no_time() -> None:
    """Proves R-AUTH-14: what was made to be slow to judge, at the longest that is taken."""
    started = time.perf_counter()
    refuse_easy(("4@8({[<3691!|1|71$5+7%2" * 50)[:1024], NAMES, "password")
    assert time.perf_counter() - started < 2
