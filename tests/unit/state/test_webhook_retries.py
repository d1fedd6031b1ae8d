"""The pauses between attempts, and the signature of a delivery."""

import base64
import hashlib
import hmac
from itertools import accumulate

import pytest

from svgx_state.events.deliveries import JITTER, LONGEST_PAUSE, pause_after
from svgx_state.events.signatures import new_secret, signed_headers

DAY = 86_400


def test_pauses_grow_up_to_six_hours_and_make_ten_attempts_in_a_day() -> None:
    """With the default settings, a receiver that is down for a night misses no event. Proves R-EVENT-6."""
    pauses = [pause_after(number, 5.0, 0) for number in range(1, 20)]
    assert pauses[:4] == [5, 20, 80, 320]
    assert max(pauses) == LONGEST_PAUSE
    assert sum(at <= DAY for at in accumulate(pauses)) == 9


@pytest.mark.parametrize("jitter", [-1, 1])
def test_pause_differs_by_the_jitter(jitter: int) -> None:
    """A pause is shorter or longer by the share `JITTER`. Proves R-EVENT-6."""
    assert pause_after(1, 100.0, jitter) == pytest.approx(100 * (1 + jitter * JITTER))


def test_pause_of_a_huge_number_of_attempts_is_bounded() -> None:
    """The pause is the longest one, without an overflow. Proves R-EVENT-6."""
    assert pause_after(10**9, 3600.0, 0) == LONGEST_PAUSE


def test_signature_is_that_of_standard_webhooks() -> None:
    """Proves R-EVENT-5. The example is that of the specification's reference implementations."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signed_headers(
        [secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_differ_and_have_32_bytes() -> None:
    """The decoded secret is the HMAC key of the signature. Proves R-EVENT-5."""
    secret = new_secret()
    assert secret != new_secret()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert len(key) == 32
    headers = signed_headers([secret], "id", 7, b"body")
    expected = hmac.digest(key, b"id.7.body", hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
