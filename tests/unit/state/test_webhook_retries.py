"""Deliveries to webhooks: the pauses between attempts, and the signatures."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from itertools import accumulate
from typing import cast

import pytest
import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database, Row
from svgx_state.events import deliveries
from svgx_state.events.deliveries import JITTER, LONGEST_PAUSE_SECONDS, pause_after
from svgx_state.events.sender import Outcome, Sender
from svgx_state.events.signatures import new_secret, signed_headers

DAY_SECONDS = 86_400


def test_pauses_grow_up_to_six_hours_and_allow_ten_attempts_in_a_day() -> None:
    """With the default settings, a receiver that is down for a night misses no event. Proves R-EVENT-6."""
    pauses = [pause_after(number, 5.0, 0) for number in range(1, 20)]
    assert pauses[:4] == [5, 20, 80, 320]
    assert max(pauses) == LONGEST_PAUSE_SECONDS
    assert sum(at <= DAY_SECONDS for at in accumulate(pauses)) == 9


@pytest.mark.parametrize("jitter", [-1, 1])
def test_pause_differs_by_the_jitter(jitter: int) -> None:
    """A pause is shorter or longer by the share `JITTER`. Proves R-EVENT-6."""
    assert pause_after(1, 100.0, jitter) == pytest.approx(100 * (1 + jitter * JITTER))


def test_pause_of_a_huge_number_of_attempts_is_bounded() -> None:
    """The pause is the longest one, without an overflow. Proves R-EVENT-6."""
    assert pause_after(10**9, 3600.0, 0) == LONGEST_PAUSE_SECONDS


class _Database:
    """A database in which no delivery can be released."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def run(self, name: str, *_: object) -> None:
        self.statements.append(name)
        if name == "release_next_delivery":
            raise Unavailable("no connection")


class _Sender:
    """A sender to a receiver that answers with 204."""

    async def send(self, *_: object) -> Outcome:
        return Outcome(status=204, error=None)


async def test_log_names_the_failed_release_of_the_next_delivery() -> None:
    """The result of the attempt is stored before the release fails. Proves R-EVENT-3."""
    database = _Database()
    replica = deliveries.Deliveries(
        cast(Database, database),
        cast(Sender, _Sender()),
        interval_seconds=1,
        attempt_seconds=1,
        first_pause_seconds=1,
        give_up_seconds=1,
    )
    row = {
        "url": "https://example.org", "secret": "s", "old_secret": None, "id": "event",
        "type": "x", "service": "state", "entity_id": "e", "actor": None, "data": "{}",
        "at": datetime.now(UTC), "delivery_id": "d", "attempts": 1, "webhook_id": "w",
    }  # fmt: skip
    with structlog.testing.capture_logs() as logs:
        await replica._attempt(cast(Row, row))
    assert database.statements == ["finish_delivery", "release_next_delivery"]
    (entry,) = logs
    assert "next delivery" in entry["event"]


def test_signature_follows_standard_webhooks() -> None:
    """Proves R-EVENT-5. The example is from the reference implementations of the specification."""
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
