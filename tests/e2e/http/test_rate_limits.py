"""Rate limits over two gateways, set while they run."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.api import Api, ApiSession, User, open_api
from tests.e2e.clients.problems import check_problem

CONFIG = "/security/rate-limits/config/"
ANALYTICS = "/security/rate-limits/analytics/"
LIMIT = 30
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Two gateways with tight limits, behind a proxy on this machine."""
    settings = {
        "RATE_LIMIT_REQUESTS_PER_MINUTE": str(LIMIT),
        "RATE_LIMIT_LOGIN_REQUESTS_PER_MINUTE": "100",
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    async with DevStack(tmp_path_factory.mktemp("limits"), settings=settings) as stack:
        await stack.add_replica("gateway")
        yield stack


@pytest.fixture(scope="module")
async def gateways(own_stack: DevStack) -> AsyncIterator[tuple[Api, Api]]:
    """Both."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_api(own_stack.url))
        other = await stack.enter_async_context(open_api(own_stack.service_url("gateway-2")))
        yield one, other


@pytest.fixture(scope="module")
async def admin(own_stack: DevStack, gateways: tuple[Api, Api]) -> ApiSession:
    """The admin, at the first gateway."""
    return gateways[0].session(own_stack.admin_username, own_stack.admin_password)


@pytest.fixture
async def configure(admin: ApiSession) -> AsyncIterator[Any]:
    """Set limits; afterwards there are none but the settings."""

    async def put(**config: Any) -> dict[str, Any]:
        answer = await admin.request("PUT", CONFIG, json=config)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    yield put
    await put()


@pytest.fixture
async def user(admin: ApiSession) -> User:
    """A new editor."""
    return await admin.create_user(f"limited-{next(_numbers)}")


async def ask(session: ApiSession, times: int) -> list[httpx.Response]:
    """So many requests at once."""
    return list(
        await asyncio.gather(*(session.request("GET", "/runtime/canvases/") for _ in range(times)))
    )


def statuses(answers: list[httpx.Response]) -> Mapping[int, int]:
    found = [answer.status_code for answer in answers]
    return {status: found.count(status) for status in sorted(set(found))}


async def test_both_gateways_count_together(
    own_stack: DevStack, gateways: tuple[Api, Api], admin: ApiSession, user: User
) -> None:
    """Proves R-LIMIT-1, R-LIMIT-2, R-LIMIT-3 and R-LIMIT-8, through HTTP."""
    sessions = [gateway.session_of(user) for gateway in gateways]
    for each in sessions:
        await each.access_token()
    found = await asyncio.gather(*(ask(each, LIMIT) for each in sessions))
    answers = [answer for part in found for answer in part]
    refused = [answer for answer in answers if answer.status_code == 429]
    passed = statuses(answers)[200]
    assert LIMIT <= passed <= LIMIT + 2  # every two seconds one more
    assert len(refused) + passed == 2 * LIMIT
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == f'"read";q={LIMIT};w=60'
        remaining = answer.headers["x-ratelimit-remaining"]
        reset = answer.headers["x-ratelimit-reset"]
        assert answer.headers["ratelimit"] == f'"read";r={remaining};t={reset}'
        assert answer.headers["x-ratelimit-limit"] == str(LIMIT)
    for answer in refused:
        problem = check_problem(answer, 429, "too_many_requests")
        assert answer.headers["retry-after"] == str(math.ceil(problem["retry_after"]))
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert 0 < problem["retry_after"] <= 60 / LIMIT
    # Another class has its own count, and so has somebody else.
    made = await sessions[0].request("POST", "/runtime/canvases/", json={"name": "n"})
    assert made.status_code == 201
    caller = f"user:{user.id}"
    async with asyncio.timeout(20):
        while True:
            counted = (await admin.request("GET", ANALYTICS)).json()
            denied = {each["caller"]: each["count"] for each in counted["top_denied"]}
            if denied.get(caller) == len(refused):
                break
    hits = {
        each["caller"]: each["count"]
        for each in counted["top_hits"]
        if each["rate_class"] == "read"
    }
    assert hits[caller] == 2 * LIMIT
    (read,) = (each for each in counted["classes"] if each["rate_class"] == "read")
    assert read["hits"] >= 2 * LIMIT
    assert read["denied"] >= len(refused)
    assert sum(each["denied"] for each in counted["timeline"]) == sum(
        each["denied"] for each in counted["classes"]
    )
    figures = [await metric(own_stack, each) for each in ("gateway", "gateway-2")]
    assert sum(figures) == len(refused)


async def metric(stack: DevStack, gateway: str) -> float:
    """`svgx_engine_rate_limit_hits_total` of reading."""
    async with httpx.AsyncClient(base_url=stack.service_url(gateway)) as http:
        text = (await http.get("/metrics/prometheus")).text
    wanted = 'svgx_engine_rate_limit_hits_total{rate_class="read"} '
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))


async def test_without_an_account_the_address_counts(own_stack: DevStack) -> None:
    """Proves R-LIMIT-1 and R-LIMIT-7: tokens cannot be tried for ever, and nobody pays for somebody else."""
    async with httpx.AsyncClient(base_url=own_stack.url) as http:

        async def attempt(address: str) -> httpx.Response:
            headers = {"X-Forwarded-For": f"6.6.6.6, {address}", "Authorization": "Bearer x"}
            return await http.get("/auth/me", headers=headers)

        found = await asyncio.gather(*(attempt("192.0.2.1") for _ in range(LIMIT + 10)))
        assert statuses(found)[401] >= LIMIT
        assert statuses(found)[429] >= 8
        assert (await attempt("192.0.2.2")).status_code == 401


async def test_a_change_is_in_force_everywhere_at_once(
    gateways: tuple[Api, Api], configure: Any, user: User
) -> None:
    """Proves R-LIMIT-4 and R-LIMIT-5: a class, a role, the whitelist."""
    there = gateways[1].session_of(user)
    await there.access_token()

    async def limit() -> str | None:
        answer = await there.request("GET", "/auth/me")
        found: str | None = answer.headers.get("x-ratelimit-limit")
        return found

    async def becomes(wanted: str | None) -> None:
        # The broadcast reaches the other gateway when it likes, but soon.
        async with asyncio.timeout(2):
            while await limit() != wanted:
                pass

    assert await limit() == str(LIMIT)
    first = await configure(limits={"read": {"requests": 1000}})
    assert first["limits"]["read"] == {"requests": 1000, "seconds": 60}
    assert first["limits"]["write"] == {"requests": LIMIT, "seconds": 60}
    await becomes("1000")
    second = await configure(
        limits={"read": {"requests": 1000}}, roles={"editor": {"read": {"requests": 2000}}}
    )
    assert second["version"] == first["version"] + 1
    await becomes("2000")
    await configure(whitelist={"users": [user.id]})
    await becomes(None)
    await configure()
    await becomes(str(LIMIT))


async def test_what_was_set_survives_and_is_not_overwritten_unseen(
    own_stack: DevStack, admin: ApiSession, configure: Any
) -> None:
    """Proves R-LIMIT-5: after all gateways and state were killed, it is as it was."""
    version = (await configure(limits={"write": {"requests": 77}}))["version"]
    stale = await admin.request("PUT", CONFIG, json={"version": version - 1})
    check_problem(stale, 409, "conflict")
    for name in ("state", "gateway"):
        process = own_stack.process(name)
        process.kill()
        await process.wait_ready()
    answer = await admin.request("POST", "/runtime/canvases/", json={"name": "n"})
    assert answer.headers["x-ratelimit-limit"] == "77"
    config = (await admin.request("GET", CONFIG)).json()
    assert (config["version"], config["limits"]["write"]["requests"]) == (version, 77)


async def test_only_admins_see_and_set_limits(gateways: tuple[Api, Api], user: User) -> None:
    """Proves R-ACCESS-8; a limit that is none is named (R-HTTP-2)."""
    editor = gateways[0].session_of(user)
    for method, path in (("GET", CONFIG), ("PUT", CONFIG), ("GET", ANALYTICS)):
        answer = await editor.request(method, path, json={})
        check_problem(answer, 403, "forbidden")
        # They have no limit for those who may, and one for those who try.
        assert answer.headers["x-ratelimit-limit"] == str(LIMIT)


async def test_without_redis_limits_go_on(
    own_stack: DevStack, gateways: tuple[Api, Api], user: User
) -> None:
    """Proves R-LIMIT-6: no request fails, the limit holds, and the log has one line about it."""
    session = gateways[1].session_of(user)
    await session.access_token()
    valkey = own_stack.process("valkey")
    valkey.restart = False
    valkey.kill()
    try:
        answers = await ask(session, LIMIT + 10)
        assert set(statuses(answers)) == {200, 429}
        assert LIMIT <= statuses(answers)[200] <= LIMIT + 2
        text = own_stack.log_path("gateway-2").read_text()
        assert text.count("this gateway limits requests by itself") == 1
    finally:
        valkey.restart = True
        await valkey.start()
        await valkey.wait_ready()


async def test_the_guard_has_its_order(own_stack: DevStack, admin: ApiSession, user: User) -> None:
    """Proves R-HTTP-5: each request is wrong in every respect that comes later."""
    async with open_api(own_stack.url) as api:
        editor = api.session_of(user)
        broken = {"Content-Type": "text/plain"}

        async def unannounced() -> AsyncIterator[bytes]:
            """Too large, which only those find out who read it."""
            for _ in range(3):
                yield bytes(2**20)

        async def status(who: ApiSession | None, path: str, **options: Any) -> int:
            if who is None:
                async with httpx.AsyncClient(base_url=own_stack.url) as http:
                    return (await http.put(path, **options)).status_code
            return (await who.request("PUT", path, **options)).status_code

        unwelcome = "/runtime/canvases/nowhere/svg"
        assert await status(None, CONFIG, headers=broken, content=bytes(2**20 + 1)) == 413
        assert await status(None, unwelcome, headers=broken, content=b"x") == 401
        assert await status(None, CONFIG, content=unannounced()) == 401
        assert await status(editor, CONFIG, headers=broken, content=b"x") == 403
        assert await status(editor, unwelcome, headers=broken, content=b"x") == 415
        svg = {"Content-Type": "image/svg+xml"}
        assert await status(editor, unwelcome, headers=svg, content=b"x") == 404
