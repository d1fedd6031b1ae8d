"""API keys at a gateway: the questions it asks the auth service."""

import secrets

import pytest

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest, CheckedApiKey
from svgx_common.contract.errors import Unauthenticated, Unavailable
from svgx_common.contract.policy import Role
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.identity import api_keys
from tests.integration.gateway.running_gateway import answering, gateway

LIMIT = 23
"""A limit that no other test uses, because the names of buckets contain their limit."""

GOOD = "svgx_good"


class Auth:
    """A stand-in for the auth service that knows one key, and records the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    async def check(self, request: CheckApiKeyRequest, _: Call) -> CheckedApiKey:
        self.asked.append(request.key)
        if self.away:
            raise Unavailable
        if request.key != GOOD:
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
    """Unknown keys count against the address, for operations and for the summary page.

    Proves R-LIMIT-14 and R-LIMIT-1.
    """
    auth = Auth()
    limit = LIMIT + len(path)
    async with (
        answering(backing, CHECK_API_KEY, auth.check),
        gateway(backing, rate_limit_requests_per_minute=limit) as http,
    ):
        statuses = []
        for _ in range(2 * limit):
            answer = await http.get(path, headers=header(f"svgx_{secrets.token_hex(8)}"))
            statuses.append(answer.status_code)
            assert "ratelimit" in answer.headers or answer.status_code == 429
        assert set(statuses) == {401, 429}
        # The bucket gets one more token every few seconds.
        assert len(auth.asked) <= limit + 3


async def test_unknown_keys_do_not_replace_a_cached_valid_key(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid key stays cached, and works while the auth service is away. Proves R-LIMIT-14 and R-AUTH-29."""
    monkeypatch.setattr(api_keys, "MAX_ENTRIES", 3)
    auth = Auth()
    page = "/security/rate-limits/config/"  # only for admins, so a viewer with a valid key gets 403
    async with (
        answering(backing, CHECK_API_KEY, auth.check),
        gateway(backing, rate_limit_requests_per_minute=1000) as http,
    ):
        assert (await http.get(page, headers=header(GOOD))).status_code == 403
        for number in range(10):
            answer = await http.get(page, headers=header(f"svgx_{number}"))
            assert answer.status_code == 401
        auth.away = True
        monkeypatch.setattr(api_keys, "FRESH", 0.0)
        assert (await http.get(page, headers=header(GOOD))).status_code == 403
    assert auth.asked[0] == auth.asked[-1] == GOOD
