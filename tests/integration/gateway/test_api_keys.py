"""API keys at a gateway: the checks that it requests from the auth service."""

import secrets
import time

import pytest

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest, CheckedApiKey
from svgx_common.contract.errors import Unauthenticated, Unavailable
from svgx_common.contract.policy import Role
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.identity import api_keys, token_cache
from tests.admitted import most_admitted
from tests.integration.gateway.running_gateway import answering, gateway

LIMIT = 23
"""The limit in requests a minute, to which the test adds the length of its path.

No other test may use one of the sums as its limit, because tests with the same limit share a token bucket.
"""

VALID_KEY = "svgx_valid"


class Auth:
    """A stand-in for the auth service. It accepts the key `VALID_KEY` only, and records every key that it checks."""

    def __init__(self) -> None:
        self.checked_keys: list[str] = []
        self.unavailable = False

    async def check(self, request: CheckApiKeyRequest, _: Call) -> CheckedApiKey:
        self.checked_keys.append(request.key)
        if self.unavailable:
            raise Unavailable
        if request.key != VALID_KEY:
            raise Unauthenticated
        return CheckedApiKey(
            key_id="k",
            user_id="u",
            username="u",
            role=Role.VIEWER,
            token_version=0,
            expires_at=2**40,
        )


def header(key: str) -> dict[str, str]:
    """Return the header with a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", ["/auth/me", "/health/summary/"])
async def test_unknown_keys_are_rate_limited_before_auth_is_asked(
    backing: DevStack, path: str
) -> None:
    """Unknown keys count against the client's address, for operations and for the summary page.

    Proves R-LIMIT-14 and R-LIMIT-1.
    """
    auth = Auth()
    limit = LIMIT + len(path)  # each path needs a bucket of its own
    async with (
        answering(backing, CHECK_API_KEY, auth.check),
        gateway(backing, rate_limit_requests_per_minute=limit) as http,
    ):
        statuses = []
        began = time.monotonic()
        for _ in range(2 * limit):
            answer = await http.get(path, headers=header(f"svgx_{secrets.token_hex(8)}"))
            statuses.append(answer.status_code)
            assert "ratelimit" in answer.headers or answer.status_code == 429
        assert set(statuses) == {401, 429}
        assert len(auth.checked_keys) <= most_admitted(limit, began)


async def test_unknown_keys_do_not_replace_a_cached_valid_key(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid key stays cached, and works while auth is unavailable. Proves R-LIMIT-14 and R-AUTH-29."""
    monkeypatch.setattr(token_cache, "MAX_ENTRIES", 3)
    auth = Auth()
    page = "/security/rate-limits/config/"  # only for admins, so a viewer with a valid key gets 403
    async with (
        answering(backing, CHECK_API_KEY, auth.check),
        gateway(backing, rate_limit_requests_per_minute=1000) as http,
    ):
        assert (await http.get(page, headers=header(VALID_KEY))).status_code == 403
        for number in range(10):
            answer = await http.get(page, headers=header(f"svgx_{number}"))
            assert answer.status_code == 401
        auth.unavailable = True
        monkeypatch.setattr(api_keys, "FRESH_SECONDS", 0.0)
        assert (await http.get(page, headers=header(VALID_KEY))).status_code == 403
    assert auth.checked_keys[0] == auth.checked_keys[-1] == VALID_KEY
