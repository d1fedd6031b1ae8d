"""The gateway before services that do not cope."""

import asyncio
import dataclasses
from datetime import UTC, datetime

import pytest

from svgx_common import contract
from svgx_common.contract import auth
from svgx_common.contract.auth import MeRequest, User
from svgx_common.contract.errors import NotFound, Unavailable
from svgx_common.contract.oidc import OIDC_LOGIN, OidcLoginRequest
from svgx_common.contract.operation import Redirect
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import NoResponders
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.http import circuit_breaker, operations
from tests.integration.gateway.edge import answering, gateway

USER = User(
    id="u", username="u", email="u@example.org", role=Role.ADMIN, created_at=datetime.now(UTC)
)


async def test_a_request_is_sent_once(backing: DevStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-RESIL-1 and R-RESIL-4: past its time limit it is given up on both sides, and not sent again."""
    hasty = dataclasses.replace(auth.ME, timeout=0.3)
    declared = tuple(hasty if each is auth.ME else each for each in contract.OPERATIONS)
    monkeypatch.setattr(operations, "OPERATIONS", declared)
    calls: list[float] = []
    given_up = asyncio.Event()

    async def never(_: MeRequest, call: Call) -> User:
        calls.append(call.deadline)
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    loop = asyncio.get_running_loop()
    async with answering(backing, auth.ME, never), gateway(backing) as http:
        began = loop.time()
        answer = await http.get("/auth/me")
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        assert 0.25 < loop.time() - began < 2
        async with asyncio.timeout(2):
            await given_up.wait()
        assert len(calls) == 1


async def test_a_service_that_fails_is_left_alone(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-RESIL-2 through HTTP: it opens, refuses without asking, and closes by itself."""
    monkeypatch.setattr(circuit_breaker, "PAUSE", 0.5)
    asked = 0
    well = False

    async def me(_: MeRequest, __: Call) -> User:
        nonlocal asked
        asked += 1
        if not well:
            raise Unavailable("the database is not there")
        return USER

    async with answering(backing, auth.ME, me), gateway(backing) as http:
        for number in range(20):
            answer = await http.get("/auth/me")
            assert answer.status_code == 503, number
            assert int(answer.headers["retry-after"]) >= 1
        assert asked == circuit_breaker.THRESHOLD
        # Another service's circuit is closed: there is nobody, which is something else.
        other = await http.get("/runtime/canvases/")
        assert other.json()["detail"] == NoResponders().detail
        well = True
        async with asyncio.timeout(5):
            while (answer := await http.get("/auth/me")).status_code != 200:
                pass
        assert asked == circuit_breaker.THRESHOLD + 1


async def test_a_sign_in_provider_that_is_away_stops_nobody_else(backing: DevStack) -> None:
    """Proves R-AUTH-35 through HTTP: neither the rest of auth nor another provider."""

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
        for _ in range(2 * circuit_breaker.THRESHOLD):
            assert (await http.get("/auth/oidc/away/login")).status_code == 503
        assert (await http.get("/auth/me")).status_code == 200
        assert (await http.get("/auth/oidc/well/login")).status_code == 303


async def test_answers_of_refusal_close_no_service(backing: DevStack) -> None:
    """Proves R-RESIL-2: who asks for what is not there, stops nobody else."""

    async def nobody(_: MeRequest, __: Call) -> User:
        raise NotFound

    async with answering(backing, auth.ME, nobody), gateway(backing) as http:
        found = [(await http.get("/auth/me")).status_code for _ in range(20)]
        assert found == [404] * 20
