"""The gateway's time limits and circuit breakers while services fail."""

import asyncio
import dataclasses
import functools
import secrets
import time
from datetime import UTC, datetime

import pytest

from svgx_auth.rotate_keys import generate
from svgx_common import contract
from svgx_common.contract import auth
from svgx_common.contract.audit import RECORD_AUDIT, RecordAuditRequest
from svgx_common.contract.auth import MeRequest, User
from svgx_common.contract.errors import NotFound, Unavailable
from svgx_common.contract.oidc import OIDC_LOGIN, OidcLoginRequest
from svgx_common.contract.operation import Empty, Redirect
from svgx_common.contract.policy import Role
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.storage.deletion import PURGE_CANVAS, Purged
from svgx_common.messaging.bus import NoResponders
from svgx_common.messaging.responder import Call
from svgx_common.tokens import access_tokens as tokens
from svgx_devstack import DevStack
from svgx_gateway.http import circuit_breaker, operations
from tests.integration.gateway.running_gateway import answering, gateway
from tests.polling import pause

USER = User(
    id="u", username="u", email="u@example.org", role=Role.ADMIN, created_at=datetime.now(UTC)
)


async def test_request_past_its_time_limit_is_cancelled_and_not_repeated(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its time limit a request is cancelled on both sides, and not sent again. Proves R-RESIL-1 and R-RESIL-4."""
    short_limit = dataclasses.replace(auth.ME, timeout=0.3)
    declared = tuple(short_limit if each is auth.ME else each for each in contract.OPERATIONS)
    monkeypatch.setattr(operations, "OPERATIONS", declared)
    calls: list[float] = []
    cancelled = asyncio.Event()

    async def wait_for_ever(_: MeRequest, call: Call) -> User:
        calls.append(call.deadline)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    loop = asyncio.get_running_loop()
    async with answering(backing, auth.ME, wait_for_ever), gateway(backing) as http:
        async with asyncio.timeout(30):
            while not calls:  # on a busy machine, the service may get a request past its time limit
                began = loop.time()
                answer = await http.get("/auth/me")
                assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
                assert 0.25 < loop.time() - began < auth.ME.timeout
            await cancelled.wait()
        assert len(calls) == 1


async def test_request_at_the_end_of_a_drain_gets_503_and_keeps_its_key(backing: DevStack) -> None:
    """The service may still carry out the operation. Its outcome is recorded as unknown.

    Proves R-HTTP-6, R-HTTP-9 and R-AUTH-21.
    """
    started, ended = asyncio.Event(), asyncio.Event()
    recorded: list[dict[str, str]] = []

    async def purge(request: CanvasRequest, _: Call) -> Purged:
        started.set()
        await ended.wait()
        return Purged(canvas_id=request.canvas_id, finished=True, rows=1)

    async def record(request: RecordAuditRequest, _: Call) -> Empty:
        recorded.append(request.detail)
        return Empty()

    path, headers = f"/admin/canvases/{'a' * 32}/purge", {"Idempotency-Key": secrets.token_hex(8)}
    async with (
        answering(backing, PURGE_CANVAS, purge),
        answering(backing, RECORD_AUDIT, record),
        gateway(backing) as http,
    ):
        purging = asyncio.create_task(http.post(path, headers=headers))
        await started.wait()
        purging.cancel()  # as uvicorn does when the drain has no more time
        response = await purging
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert [each["outcome"] for each in recorded] == ["unknown"]
        repeated = await http.post(path, headers=headers)
        assert repeated.status_code == 409
        ended.set()


async def test_invented_tokens_are_limited_while_auth_does_not_answer(backing: DevStack) -> None:
    """Auth does not run, so the gateway cannot ask for their keys. Proves R-LIMIT-1."""
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ada", Role.EDITOR, "s", "t", now, now + 60)
    token = tokens.sign(claims, generate("ES256", 0).key)
    headers = {"Authorization": f"Bearer {token}"}
    async with gateway(backing, rate_limit_requests_per_minute=3) as http:
        statuses = [(await http.get("/auth/me", headers=headers)).status_code for _ in range(5)]
    assert statuses[0] == 503
    assert statuses[-1] == 429


async def test_failing_service_gets_no_requests_until_it_recovers(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open circuit refuses requests without sending them, and closes by itself. Proves R-RESIL-2 through HTTP."""
    now = 0.0
    breaker = functools.partial(circuit_breaker.CircuitBreaker, clock=lambda: now)
    monkeypatch.setattr(circuit_breaker, "CircuitBreaker", breaker)
    asked = 0
    healthy = False

    async def me(_: MeRequest, __: Call) -> User:
        nonlocal asked
        asked += 1
        if not healthy:
            raise Unavailable("the database is not there")
        return USER

    async with answering(backing, auth.ME, me), gateway(backing) as http:
        for number in range(20):
            answer = await http.get("/auth/me")
            assert answer.status_code == 503, number
            assert int(answer.headers["retry-after"]) >= 1
        assert asked == circuit_breaker.FAILURE_THRESHOLD
        # The state service has its own circuit. No replica of state runs here, so the error is a different one.
        other = await http.get("/runtime/canvases/")
        assert other.json()["detail"] == NoResponders().detail
        healthy = True
        assert (await http.get("/auth/me")).status_code == 503
        now += circuit_breaker.PAUSE_SECONDS
        assert (await http.get("/auth/me")).status_code == 200
        assert asked == circuit_breaker.FAILURE_THRESHOLD + 1


async def test_unavailable_sign_in_provider_blocks_no_other_requests(backing: DevStack) -> None:
    """Requests for other operations of auth and for other providers are not refused. Proves R-AUTH-35 through HTTP."""

    async def sign_in(request: OidcLoginRequest, _: Call) -> Redirect:
        if request.provider == "away":
            raise Unavailable("the sign-in provider is not reachable")
        return Redirect(location="https://id.example.org", remember="x", seconds=1)

    async def me(_: MeRequest, __: Call) -> User:
        return USER

    async with (
        answering(backing, auth.ME, me),
        answering(backing, OIDC_LOGIN, sign_in),
        gateway(backing) as http,
    ):
        for _ in range(2 * circuit_breaker.FAILURE_THRESHOLD):
            assert (await http.get("/auth/oidc/away/login")).status_code == 503
        assert (await http.get("/auth/me")).status_code == 200
        assert (await http.get("/auth/oidc/well/login")).status_code == 303


async def test_refusals_do_not_open_the_circuit(backing: DevStack) -> None:
    """Callers' mistakes do not block other callers. Proves R-RESIL-2."""

    async def not_found(_: MeRequest, __: Call) -> User:
        raise NotFound

    async with answering(backing, auth.ME, not_found), gateway(backing) as http:
        statuses = [(await http.get("/auth/me")).status_code for _ in range(20)]
        assert statuses == [404] * 20


async def test_refusal_of_an_overloaded_gateway_is_readable_for_pages(backing: DevStack) -> None:
    """A page of an allowed origin can read the 503 and its `Retry-After`. Proves R-HTTP-4 and R-RESIL-3.

    With this limit, the event loop always counts as late.
    """
    page = {"Origin": "https://studio.example"}
    settings = {"shed_lag_seconds": 1e-9, "cors_origins": page["Origin"]}
    async with gateway(backing, **settings) as http:
        async with asyncio.timeout(10):
            while (refused := await http.get("/unknown", headers=page)).status_code != 503:
                await pause()
        assert refused.json()["code"] == "overloaded"
        assert refused.headers["access-control-allow-origin"] == page["Origin"]
        assert "Retry-After" in refused.headers["access-control-expose-headers"]
        preflight = {**page, "Access-Control-Request-Method": "PUT"}
        assert (await http.options("/unknown", headers=preflight)).status_code == 200
