"""API keys at a gateway: the checks that it requests from the auth service."""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest, CheckedApiKey
from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Unauthenticated, Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.revocations import REVOKED, Revocation, RevocationList
from svgx_common.contract.state import CANVAS_ACCESS, Access, CanvasRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.identity import api_keys, token_cache
from svgx_gateway.identity.revocations import ACCOUNT_CHANGED, REVOKED_COUNT
from svgx_yjs.hocuspocus import AUTH, TOKEN
from svgx_yjs.lib0 import Encoder
from tests.admitted import most_admitted
from tests.integration.gateway.running_gateway import answering, gateway
from tests.integration.gateway.test_waiting_joins import CANVAS, connecting
from tests.polling import pause

LIMIT = 23
"""The limit in requests a minute, to which the test adds the length of its path.

No other test may use one of the sums as its limit, because tests with the same limit share a token bucket.
"""

VALID_KEY = "svgx_valid"

HOCUSPOCUS_TOKEN = Encoder().text(CANVAS).uint(AUTH).uint(TOKEN).text(VALID_KEY).finish()
"""The first message of a Hocuspocus client."""


class Auth:
    """A stand-in for the auth service. It accepts the key `VALID_KEY` only, and records every key that it checks."""

    def __init__(self, bus: Bus | None = None) -> None:
        self.checked_keys: list[str] = []
        self.unavailable = False
        self.token_version = 0
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        """A function that is called once, after the key was looked up and before it is answered."""
        self._bus = bus

    async def change_account(self) -> None:
        """Change the account of the key, and wait until the gateway has received the announcement."""
        assert self._bus is not None
        self.token_version += 1
        revocation = Revocation(
            user_id="u", before_version=self.token_version, until=2**40, reason="account"
        )
        await self._bus.broadcast(REVOKED, RevocationList(items=[revocation]))
        while not revoked_accounts():
            await pause()

    async def check(self, request: CheckApiKeyRequest, _: Call) -> CheckedApiKey:
        self.checked_keys.append(request.key)
        if self.unavailable:
            raise Unavailable
        if request.key != VALID_KEY:
            raise Unauthenticated
        answer = CheckedApiKey(
            key_id="k",
            user_id="u",
            username="u",
            role=Role.VIEWER,
            token_version=self.token_version,
            expires_at=2**40,
        )
        if self.before_answer is not None:
            before_answer, self.before_answer = self.before_answer, None
            await before_answer()
        return answer


def revoked_accounts() -> float:
    """Return the number of entries in the gateway's list of revocations."""
    (metric,) = REVOKED_COUNT.collect()
    return metric.samples[0].value


@pytest.fixture
async def auth_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a connection of the auth service to NATS."""
    bus = await Bus.connect(backing.nats_url("auth"), "auth", secrets.token_hex(4))
    try:
        yield bus
    finally:
        await bus.close()


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


async def test_key_is_checked_again_when_its_account_changes_during_the_check(
    backing: DevStack, auth_bus: Bus
) -> None:
    """Proves R-AUTH-27: a key stays valid when its account changes between auth's look-up and the gateway's check."""
    auth = Auth(auth_bus)
    auth.before_answer = auth.change_account
    async with answering(backing, CHECK_API_KEY, auth.check), gateway(backing) as http:
        answer = await http.get("/security/rate-limits/config/", headers=header(VALID_KEY))
    assert answer.status_code == 403  # the account is a viewer, and the page is for admins
    assert auth.checked_keys == [VALID_KEY, VALID_KEY]


@pytest.mark.parametrize(
    ("path", "query", "first_message"),
    [
        (f"/runtime/events/{CANVAS}", "", None),
        ("/runtime/events", f"canvas_id={CANVAS}", None),
        ("/runtime/hocuspocus", "", HOCUSPOCUS_TOKEN),
    ],
)
async def test_socket_gets_1012_when_the_account_of_its_key_changes_during_the_join(
    backing: DevStack, auth_bus: Bus, path: str, query: str, first_message: bytes | None
) -> None:
    """Proves R-AUTH-27: a client with a valid key is told to reconnect, also before it has joined its canvas."""
    auth = Auth(auth_bus)

    async def access(_: CanvasRequest, __: Call) -> Access:
        if not auth.token_version:
            await auth.change_account()
        return Access(role=CanvasRole.VIEWER)

    async with (
        answering(backing, CANVAS_ACCESS, access),
        answering(backing, CHECK_API_KEY, auth.check),
        gateway(backing) as http,
        connecting(http, f"Bearer {VALID_KEY}", path, query) as socket,
    ):
        if first_message is not None:
            await socket.received.put({"type": "websocket.receive", "bytes": first_message})
        while "close" not in socket.types():
            await pause()
    assert socket.sent[-1]["code"] == Close.RESTARTING
    assert socket.sent[-1]["reason"] == ACCOUNT_CHANGED
