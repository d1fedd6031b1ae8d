"""Rate limits that two gateways count together, and changes of limits while the gateways run."""

import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from svgx_common.contract.collab import HOCUSPOCUS_PATH
from svgx_devstack import DevStack
from tests.admitted import most_admitted
from tests.e2e.clients.api import Api, ApiSession, User, open_api
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.metrics import Metrics
from tests.e2e.clients.problems import check_problem
from tests.polling import REQUEST_POLL_SECONDS, pause

CONFIG = "/security/rate-limits/config/"
ANALYTICS = "/security/rate-limits/analytics/"
LIMIT = 30
"""Requests per minute that the settings allow an account in the class `read`, and separately in the class `write`."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start two gateways with low limits. The tests act as their trusted proxy."""
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
    """Open a client for each gateway."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_api(own_stack.url))
        second = await stack.enter_async_context(open_api(own_stack.service_url("gateway-2")))
        yield first, second


@pytest.fixture(scope="module")
async def admin(own_stack: DevStack, gateways: tuple[Api, Api]) -> ApiSession:
    """Return the admin's session at the first gateway."""
    return gateways[0].session(own_stack.admin_username, own_stack.admin_password)


@pytest.fixture
async def set_limits(admin: ApiSession) -> AsyncIterator[Any]:
    """Return a function that sets limits. After the test, restore the limits of the settings."""

    async def put(**config: Any) -> dict[str, Any]:
        response = await admin.request("PUT", CONFIG, json=config)
        assert response.status_code == 200, response.text
        stored: dict[str, Any] = response.json()
        return stored

    yield put
    await put()


@pytest.fixture
async def user(admin: ApiSession) -> User:
    """Create an editor's account."""
    return await admin.create_user(f"limited-{next(_numbers)}")


async def send_concurrently(session: ApiSession, count: int) -> list[httpx.Response]:
    """Send `count` requests of the class `read` at the same time."""
    return list(
        await asyncio.gather(*(session.request("GET", "/runtime/canvases/") for _ in range(count)))
    )


def count_statuses(responses: list[httpx.Response]) -> Mapping[int, int]:
    """Return the number of responses with each status."""
    statuses = [response.status_code for response in responses]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def check_counts(counts: Mapping[int, int], passed: int, sent: int, began: float) -> None:
    """Check that the limit admitted the right number of the requests sent since `began`.

    `counts` holds the number of responses with each status. Admitted requests have the status `passed`.
    """
    assert counts.keys() == {passed, 429}
    assert counts[passed] + counts[429] == sent
    assert LIMIT <= counts[passed] <= most_admitted(LIMIT, began)


async def test_change_by_an_admin_is_in_the_audit_log(
    admin: ApiSession, set_limits: Any, user: User
) -> None:
    """Proves R-AUTH-21: a successful change is recorded, but a refused change and a read are not."""

    async def changes() -> list[tuple[str, str]]:
        page = await admin.request("GET", "/admin/audit/", params={"event": "admin_operation"})
        return [(each["actor"], each["detail"]["operation"]) for each in page.json()["items"]]

    before = await changes()
    await set_limits(whitelist={"users": [user.id]})
    refused = await admin.request("PUT", CONFIG, json={"whitelist": {"users": ["unknown"]}})
    assert refused.status_code == 422
    await admin.request("GET", CONFIG)
    assert await changes() == [("admin", "gateway.rate_limits.set"), *before]


async def test_two_gateways_count_requests_together(
    own_stack: DevStack, gateways: tuple[Api, Api], admin: ApiSession, user: User
) -> None:
    """The gateways share one count per account and class. The metrics and the analytics report the same numbers.

    Proves R-LIMIT-1, R-LIMIT-2, R-LIMIT-3 and R-LIMIT-8.
    """
    sessions = [gateway.session_of(user) for gateway in gateways]
    for each in sessions:
        await each.access_token()
    began = time.monotonic()
    batches = await asyncio.gather(*(send_concurrently(each, LIMIT) for each in sessions))
    responses = [response for batch in batches for response in batch]
    check_counts(count_statuses(responses), 200, 2 * LIMIT, began)
    refused = [response for response in responses if response.status_code == 429]
    for response in responses:
        assert response.headers["ratelimit-policy"] == f'"read";q={LIMIT};w=60'
        remaining = response.headers["x-ratelimit-remaining"]
        reset = response.headers["x-ratelimit-reset"]
        assert response.headers["ratelimit"] == f'"read";r={remaining};t={reset}'
        assert response.headers["x-ratelimit-limit"] == str(LIMIT)
    for response in refused:
        problem = check_problem(response, 429, "too_many_requests")
        assert response.headers["retry-after"] == str(math.ceil(problem["retry_after"]))
        assert response.headers["x-ratelimit-remaining"] == "0"
        assert 0 < problem["retry_after"] <= 60 / LIMIT
    # Another rate-limit class has a count of its own.
    created = await sessions[0].request("POST", "/runtime/canvases/", json={"name": "n"})
    assert created.status_code == 201
    caller = f"user:{user.id}"

    def counts(key: str) -> int:
        """Return how many `read` requests of the caller the list `key` of the analytics counts."""
        return sum(
            each["count"]
            for each in analytics[key]
            if (each["caller"], each["rate_class"]) == (caller, "read")
        )

    # The gateways report their counts at different times.
    async with asyncio.timeout(20):
        while True:
            analytics = (await admin.request("GET", ANALYTICS)).json()
            if (counts("top_hits"), counts("top_denied")) == (2 * LIMIT, len(refused)):
                break
            await pause(REQUEST_POLL_SECONDS)
    # The parts of a report are read one after the other, so its first parts may lack the newest counts.
    analytics = (await admin.request("GET", ANALYTICS)).json()
    (read,) = (each for each in analytics["classes"] if each["rate_class"] == "read")
    assert read["hits"] >= 2 * LIMIT
    assert read["denied"] >= len(refused)
    assert sum(each["denied"] for each in analytics["timeline"]) == sum(
        each["denied"] for each in analytics["classes"]
    )
    counted = await Metrics(own_stack, timeout=60).value(
        "rate_limit_hits_total", "gateway", "gateway-2", rate_class="read"
    )
    assert counted == len(refused)


@pytest.mark.parametrize("path", ["/auth/me", "/runtime/canvases/no-such-canvas"])
async def test_read_that_exceeds_the_limit_during_its_answer_gets_429(
    gateways: tuple[Api, Api], set_limits: Any, user: User, path: str
) -> None:
    """A gateway that knows that at least half of the limit remains forwards a read before it is counted.

    Here, the limit was used up at another gateway meanwhile. The answer or error of the service is not sent. Proves
    R-LIMIT-2 and R-LIMIT-17.
    """
    await set_limits(roles={"editor": {"read": {"requests": 20, "seconds": 3600}}})
    first, second = [gateway.session_of(user) for gateway in gateways]
    known = await first.request("GET", "/auth/me")
    assert int(known.headers["x-ratelimit-remaining"]) == 19
    assert count_statuses(await send_concurrently(second, 19)) == {200: 19}
    refused = await first.request("GET", path)
    check_problem(refused, 429, "too_many_requests")
    assert refused.headers["x-ratelimit-remaining"] == "0"


async def test_requests_without_an_account_are_limited_by_address(own_stack: DevStack) -> None:
    """Requests with an invalid token count for their address only. Proves R-LIMIT-1 and R-LIMIT-7."""
    async with httpx.AsyncClient(base_url=own_stack.url, timeout=60) as http:

        async def attempt(address: str) -> httpx.Response:
            headers = {"X-Forwarded-For": f"6.6.6.6, {address}", "Authorization": "Bearer x"}
            return await http.get("/auth/me", headers=headers)

        began = time.monotonic()
        responses = await asyncio.gather(*(attempt("192.0.2.1") for _ in range(2 * LIMIT)))
        check_counts(count_statuses(responses), 401, 2 * LIMIT, began)
        assert (await attempt("192.0.2.2")).status_code == 401


@pytest.mark.parametrize(
    ("number", "path"),
    [
        (1, "/metrics/prometheus"),
        (2, "/metrics/prometheus/"),
        (3, "/metrics"),
        (4, "/docs"),
        (5, "/docs/swagger-ui.css"),
        (6, "/openapi.json"),
    ],
)
async def test_pages_are_limited_by_address(own_stack: DevStack, number: int, path: str) -> None:
    """Each page has the read limit, and another address is not affected. Proves R-LIMIT-15 and R-LIMIT-3."""
    address = f"192.0.2.{100 + number}"
    async with httpx.AsyncClient(base_url=own_stack.url, timeout=60) as http:
        headers = {"X-Forwarded-For": address}
        began = time.monotonic()
        responses = await asyncio.gather(
            *(http.get(path, headers=headers) for _ in range(2 * LIMIT))
        )
        check_counts(count_statuses(responses), 200, 2 * LIMIT, began)
        for response in responses:
            assert response.headers["x-ratelimit-limit"] == str(LIMIT)
            assert response.headers["x-content-type-options"] == "nosniff"
            if response.status_code == 429:
                check_problem(response, 429, "too_many_requests")
                assert int(response.headers["retry-after"]) >= 1
        other = await http.get(path, headers={"X-Forwarded-For": "192.0.2.99"})
        assert other.status_code == 200


async def test_health_requests_have_no_rate_limit(own_stack: DevStack) -> None:
    """Health requests are not limited, because a refused probe would restart the gateway. Proves R-LIMIT-15."""
    headers = {"X-Forwarded-For": "192.0.2.98"}
    paths = ("/health", "/health/live", "/health/ready") * LIMIT
    async with httpx.AsyncClient(base_url=own_stack.url, timeout=60) as http:
        responses = await asyncio.gather(*(http.get(path, headers=headers) for path in paths))
    # A slow check of a dependency makes the gateway unready for half a second, with the status 503.
    assert count_statuses(responses).keys() <= {200, 503}


def check_rate_limit_headers(headers: Mapping[str, str]) -> None:
    """Check that the headers state the limit, the remainder and the reset."""
    assert headers["x-ratelimit-limit"] == str(LIMIT)
    assert headers["ratelimit-policy"] == f'"read";q={LIMIT};w=60'
    assert headers["ratelimit"].startswith('"read";r=')
    assert 0 <= int(headers["x-ratelimit-remaining"]) < LIMIT
    assert int(headers["x-ratelimit-reset"]) > 0


async def try_handshake(url: str, headers: Mapping[str, str]) -> int:
    """Return the close code of a WebSocket, or the status that refused its upgrade."""
    try:
        async with connect(url, additional_headers=headers) as socket:
            assert socket.response is not None
            check_rate_limit_headers(socket.response.headers)
            return await wait_close_code(socket) or 0
    except InvalidStatus as refused:
        response = refused.response
        if response.status_code == 429:
            check_rate_limit_headers(response.headers)
            assert response.headers["content-type"] == "application/problem+json"
            assert int(response.headers["retry-after"]) >= 1
            assert json.loads(response.body or b"")["code"] == "too_many_requests"
        return response.status_code


async def test_handshakes_count_against_the_account(
    own_stack: DevStack, gateways: tuple[Api, Api], user: User
) -> None:
    """Both gateways count the handshakes of an account together, from any address.

    The account's HTTP requests are counted separately. Each response states the limit. Proves R-LIMIT-3 and R-LIMIT-16.
    """
    session = gateways[0].session_of(user)
    token = await session.access_token()
    urls = [f"{gateway.websocket_url}/unknown" for gateway in gateways]
    attempts = [
        try_handshake(
            urls[number % 2],
            {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"192.0.3.{number}"},
        )
        for number in range(2 * LIMIT)
    ]
    began = time.monotonic()
    check_counts(Counter(await asyncio.gather(*attempts)), 4404, 2 * LIMIT, began)
    assert (await session.request("GET", "/auth/me")).status_code == 200


async def open_sockets(url: str, headers: Mapping[str, str], number: int) -> None:
    """Open and close WebSockets, one after the other. Raises `InvalidStatus` at the first refusal."""
    for _ in range(number):
        async with connect(url, additional_headers=headers):
            pass


async def test_response_to_a_hocuspocus_handshake_states_the_rate_limit(
    gateways: tuple[Api, Api],
) -> None:
    """Upgrades and refusals have the headers of the address's limit. Proves R-LIMIT-3."""
    url = gateways[0].websocket_url.removesuffix("/runtime/events") + HOCUSPOCUS_PATH
    address = {"X-Forwarded-For": "192.0.2.97"}
    async with connect(url, additional_headers=address) as socket:
        assert socket.response is not None
        check_rate_limit_headers(socket.response.headers)
    with pytest.raises(InvalidStatus) as refused:
        await open_sockets(url, address, 3 * LIMIT)
    assert refused.value.response.status_code == 429
    check_rate_limit_headers(refused.value.response.headers)


@pytest.mark.parametrize(
    ("number", "headers"),
    [
        (1, {}),
        (2, {"Authorization": "Bearer x"}),
        (3, {"X-API-Key": "x"}),
    ],
)
async def test_handshakes_without_a_valid_token_count_against_the_address(
    gateways: tuple[Api, Api], number: int, headers: dict[str, str]
) -> None:
    """The proxy reports the address. IPv6 addresses of one network count together. Proves R-LIMIT-16, R-LIMIT-7."""
    url = f"{gateways[0].websocket_url}/unknown"
    network = f"2001:db8:{number}:0"
    attempts = [
        try_handshake(url, {**headers, "X-Forwarded-For": f"{network}::{host:x}"})
        for host in range(1, 2 * LIMIT + 1)
    ]
    began = time.monotonic()
    check_counts(Counter(await asyncio.gather(*attempts)), 4401, 2 * LIMIT, began)
    other = {**headers, "X-Forwarded-For": f"2001:db8:{number}:1::1"}
    assert await try_handshake(url, other) == 4401


async def test_changed_limits_apply_on_all_gateways(
    gateways: tuple[Api, Api], set_limits: Any, user: User
) -> None:
    """The changes set a limit of a class, a limit of a role, and the whitelist. Proves R-LIMIT-4 and R-LIMIT-5."""
    session = gateways[1].session_of(user)
    await session.access_token()

    async def current_limit() -> str | None:
        response = await session.request("GET", "/auth/me")
        limit: str | None = response.headers.get("x-ratelimit-limit")
        return limit

    async def wait_for_limit(expected: str | None) -> None:
        # The other gateway gets the change by a broadcast.
        async with asyncio.timeout(10):
            while await current_limit() != expected:
                await pause(REQUEST_POLL_SECONDS)

    assert await current_limit() == str(LIMIT)
    first = await set_limits(limits={"read": {"requests": 1000}})
    assert first["limits"]["read"] == {"requests": 1000, "seconds": 60}
    assert first["limits"]["write"] == {"requests": LIMIT, "seconds": 60}
    await wait_for_limit("1000")
    second = await set_limits(
        limits={"read": {"requests": 1000}}, roles={"editor": {"read": {"requests": 2000}}}
    )
    assert second["version"] == first["version"] + 1
    await wait_for_limit("2000")
    await set_limits(whitelist={"users": [user.id]})
    await wait_for_limit(None)
    await set_limits()
    await wait_for_limit(str(LIMIT))


async def test_key_with_a_lower_role_counts_in_the_bucket_of_its_account(
    gateways: tuple[Api, Api], set_limits: Any, user: User
) -> None:
    """An editor's key with the role `viewer` has the limit and the count of the editor's account. Proves R-LIMIT-4."""
    limits = {"viewer": 20, "editor": LIMIT}
    await set_limits(
        roles={
            role: {"read": {"requests": requests, "seconds": 3600}}
            for role, requests in limits.items()
        }
    )
    session = gateways[0].session_of(user)
    key = await session.request("POST", "/auth/api-keys/", json={"name": "a", "role": "viewer"})
    assert key.status_code == 201, key.text
    by_token = await session.request("GET", "/runtime/canvases/")
    by_key = await session.request(
        "GET", "/runtime/canvases/", headers={"Authorization": f"Bearer {key.json()['key']}"}
    )
    assert by_key.headers["RateLimit-Policy"] == by_token.headers["RateLimit-Policy"]
    remaining = [int(each.headers["X-RateLimit-Remaining"]) for each in (by_token, by_key)]
    assert remaining[1] < LIMIT - 1, remaining


async def test_limits_survive_restarts_and_stale_versions_get_409(
    own_stack: DevStack, admin: ApiSession, set_limits: Any
) -> None:
    """The limits survive SIGKILL of a gateway and of state. A stale version is refused. Proves R-LIMIT-5."""
    version = (await set_limits(limits={"write": {"requests": 77}}))["version"]
    stale = await admin.request("PUT", CONFIG, json={"version": version - 1})
    check_problem(stale, 409, "conflict")
    for name in ("state", "gateway"):
        process = own_stack.process(name)
        process.kill()
        await process.wait_ready()
    response = await admin.request("POST", "/runtime/canvases/", json={"name": "n"})
    assert response.headers["x-ratelimit-limit"] == "77"
    config = (await admin.request("GET", CONFIG)).json()
    assert (config["version"], config["limits"]["write"]["requests"]) == (version, 77)


async def test_limit_operations_are_refused_without_the_admin_role(
    gateways: tuple[Api, Api], user: User
) -> None:
    """An editor can neither read nor set limits. Proves R-ACCESS-8 and R-LIMIT-3."""
    editor = gateways[0].session_of(user)
    for method, path in (("GET", CONFIG), ("PUT", CONFIG), ("GET", ANALYTICS)):
        response = await editor.request(method, path, json={})
        check_problem(response, 403, "forbidden")
        # The operations have no limit for admins, but a limit for refused callers.
        assert response.headers["x-ratelimit-limit"] == str(LIMIT)


async def test_gateway_applies_limits_by_itself_without_redis(
    own_stack: DevStack, gateways: tuple[Api, Api], user: User
) -> None:
    """The gateway admits as many requests as with Redis, and logs the outage in one line. Proves R-LIMIT-6."""
    session = gateways[1].session_of(user)
    await session.access_token()

    def outages() -> tuple[int, int]:
        """Return the numbers of outages that the gateway has logged, and of those that have ended."""
        text = own_stack.log_path("gateway-2").read_text()
        return text.count("this gateway limits requests by itself"), text.count("usable again")

    async with asyncio.timeout(20):
        while len(set(before := outages())) > 1:
            await pause()
    valkey = own_stack.process("valkey")
    valkey.restart = False
    valkey.kill()
    try:
        began = time.monotonic()
        responses = await send_concurrently(session, 2 * LIMIT)
        check_counts(count_statuses(responses), 200, 2 * LIMIT, began)
        assert outages() == (before[0] + 1, before[1])
    finally:
        valkey.restart = True
        await valkey.start()
        await valkey.wait_ready()


async def test_checks_of_a_request_run_in_the_documented_order(
    own_stack: DevStack, admin: ApiSession, user: User
) -> None:
    """Each request gets the status of the first check that it fails. Proves R-HTTP-5."""
    async with open_api(own_stack.url) as api:
        editor = api.session_of(user)
        wrong_type = {"Content-Type": "text/plain"}

        async def body_without_length() -> AsyncIterator[bytes]:
            """Yield a body that is too large, without a `Content-Length` header."""
            for _ in range(3):
                yield bytes(2**20)

        async def put_status(session: ApiSession | None, path: str, **options: Any) -> int:
            if session is None:
                async with httpx.AsyncClient(base_url=own_stack.url, timeout=60) as http:
                    return (await http.put(path, **options)).status_code
            return (await session.request("PUT", path, **options)).status_code

        missing_canvas = "/runtime/canvases/nowhere/svg"
        assert await put_status(None, CONFIG, headers=wrong_type, content=bytes(2**20 + 1)) == 413
        assert await put_status(None, missing_canvas, headers=wrong_type, content=b"x") == 401
        assert await put_status(None, CONFIG, content=body_without_length()) == 401
        assert await put_status(editor, CONFIG, headers=wrong_type, content=b"x") == 403
        assert await put_status(editor, missing_canvas, headers=wrong_type, content=b"x") == 415
        svg = {"Content-Type": "image/svg+xml"}
        assert await put_status(editor, missing_canvas, headers=svg, content=b"x") == 404
