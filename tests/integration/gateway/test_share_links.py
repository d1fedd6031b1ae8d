"""Share links at a gateway: visitors without an account, accounts with a link, and their limits."""

import contextlib
import time
from typing import Any

import pytest

from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import Forbidden, Unauthenticated
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import CanvasRole, Role, Scope
from svgx_common.contract.state import CANVAS_ACCESS, GET_CANVAS, Access, Canvas, CanvasRequest
from svgx_common.contract.storage.links import CHECK_LINK, CheckedLink, CheckLinkRequest
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.identity import share_links, token_cache
from tests.admitted import most_admitted
from tests.integration.gateway.running_gateway import answering, bearer, gateway

LIMIT = 19
"""Requests a minute. No other test uses this number, because tests with the same limit share a token bucket."""

CANVAS_ID = "canvas-1"
PATH = f"/runtime/canvases/{CANVAS_ID}"


class State:
    """A stand-in for the state service. Each token that begins with `svgxlink_good` is a link of `CANVAS_ID`."""

    def __init__(self) -> None:
        self.checked: list[str] = []
        self.callers: list[Caller] = []
        self.expires_at: float | None = None

    async def check(self, request: CheckLinkRequest, _: Call) -> CheckedLink:
        self.checked.append(request.token)
        if not request.token.startswith("svgxlink_good"):
            raise Unauthenticated
        link_id = request.token.removeprefix("svgxlink_")
        return CheckedLink(id=link_id, canvas_id=CANVAS_ID, expires_at=self.expires_at)

    async def access(self, _: CanvasRequest, call: Call) -> Access:
        self.callers.append(call.signed_in_caller())
        return Access(role=CanvasRole.VIEWER)

    async def get(self, request: CanvasRequest, call: Call) -> Canvas:
        return Canvas.model_validate(
            {
                "id": request.canvas_id,
                "name": call.signed_in_caller().user_id,
                "role": "viewer",
                "revision": 0,
                "created_at": "2026-01-01T00:00:00Z",
                "updated_at": "2026-01-01T00:00:00Z",
            }
        )


def visitor(token: str) -> dict[str, str]:
    """Return the request headers of a visitor with this link token."""
    return {"X-Share-Link": token, "Authorization": ""}


NOT_PUBLIC = [
    each for each in OPERATIONS if each.http is not None and each.scope is not Scope.PUBLIC
]


async def test_visitor_may_call_exactly_the_operations_that_admit_links(
    backing: DevStack,
) -> None:
    """Operations of owners, on members, on the past and on undo admit no visitor. Proves R-LIFE-7."""
    state = State()
    admitted: list[str] = []
    async with (
        answering(backing, CHECK_LINK, state.check),
        answering(backing, CANVAS_ACCESS, state.access),
        gateway(backing, rate_limit_requests_per_minute=100_000) as http,
    ):
        for operation in NOT_PUBLIC:
            assert operation.http is not None
            fields = dict.fromkeys(operation.http.path_fields, CANVAS_ID)
            answer = await http.request(
                operation.http.method,
                operation.http.path.format(**fields),
                headers=visitor("svgxlink_good"),
            )
            refused = answer.status_code == 403 and "share link does not allow" in answer.text
            if not refused:
                admitted.append(operation.name)
        summary = await http.get("/health/summary/", headers=visitor("svgxlink_good"))
        assert summary.status_code == 403
    assert admitted == [each.name for each in NOT_PUBLIC if _expected(each)]
    assert {each.name for each in NOT_PUBLIC if _expected(each)} >= {
        "state.canvas.get",
        "state.export",
        "collab.import",
    }


def _expected(operation: Operation[Any, Any]) -> bool:
    lists_people = operation.name in ("state.member.list", "state.member.get")
    shows_past = operation.name.startswith("state.version.") or operation.name.endswith(".moment")
    is_undo = operation.name.rpartition(".")[2] in ("undo", "redo", "history")
    has_role_of_links = operation.canvas_role in (CanvasRole.VIEWER, CanvasRole.EDITOR)
    return has_role_of_links and not (lists_people or shows_past or is_undo)


async def test_visitor_and_account_with_a_link_are_distinguished(backing: DevStack) -> None:
    """A request has its link in `X-Share-Link` or as the bearer token. A link in the query has no effect.

    An invalid link has no effect beside an account. Proves R-LIFE-1 and R-LIFE-2.
    """
    state = State()
    async with (
        answering(backing, CHECK_LINK, state.check),
        answering(backing, CANVAS_ACCESS, state.access),
        answering(backing, GET_CANVAS, state.get),
        gateway(backing, rate_limit_requests_per_minute=100_000) as http,
    ):
        by_header = await http.get(PATH, headers=visitor("svgxlink_good"))
        assert (by_header.status_code, by_header.json()["name"]) == (200, "link-good")
        by_bearer = {"Authorization": "Bearer svgxlink_good"}
        assert (await http.get(PATH, headers=by_bearer)).json()["name"] == "link-good"
        account = bearer(Role.EDITOR)
        with_link = await http.get(PATH, headers=account | {"X-Share-Link": "svgxlink_good"})
        with_wrong_link = await http.get(PATH, headers=account | {"X-Share-Link": "svgxlink_bad"})
        assert with_link.json()["name"] == with_wrong_link.json()["name"] != "link-good"
        assert (
            await http.get(f"{PATH}?link=svgxlink_good", headers=visitor(""))
        ).status_code == 401
        assert (await http.get(PATH, headers=visitor("svgxlink_bad"))).status_code == 401
        assert (await http.get(PATH, headers=visitor("x" * 129))).status_code == 401
        account_page = await http.get("/auth/me", headers=visitor("svgxlink_good"))
        assert account_page.status_code == 403
    seen = [(each.is_visitor, each.link_id) for each in state.callers]
    assert seen == [(True, "good"), (False, "good"), (False, None)]
    assert {"x" * 129} & {*state.checked} == set()


async def test_link_is_cached_and_refused_after_it_expires(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cached link is checked again only after `FRESH_SECONDS`, and is refused without a check after it has expired.

    Proves R-LIFE-8.
    """
    state = State()
    async with (
        answering(backing, CHECK_LINK, state.check),
        answering(backing, CANVAS_ACCESS, state.access),
        answering(backing, GET_CANVAS, state.get),
        gateway(backing, rate_limit_requests_per_minute=100_000) as http,
    ):
        for _ in range(3):
            assert (await http.get(PATH, headers=visitor("svgxlink_good-1"))).status_code == 200
            assert (await http.get(PATH, headers=visitor("svgxlink_bad-1"))).status_code == 401
        assert state.checked == ["svgxlink_good-1", "svgxlink_bad-1"]
        monkeypatch.setattr(share_links, "FRESH_SECONDS", 0.0)
        assert (await http.get(PATH, headers=visitor("svgxlink_good-1"))).status_code == 200
        assert state.checked[2:] == ["svgxlink_good-1"]
        state.expires_at = time.time() - 1
        assert (await http.get(PATH, headers=visitor("svgxlink_good-2"))).status_code == 200
        asked = len(state.checked)
        assert (await http.get(PATH, headers=visitor("svgxlink_good-2"))).status_code == 401
        assert len(state.checked) == asked


async def test_visitors_are_limited_by_address_and_by_link(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many links do not raise the limit of an address. Visitors with one link do not use up the limit of other links.

    Proves R-LIFE-9.
    """
    monkeypatch.setattr("svgx_gateway.ratelimit.limiter.LINK_FACTOR", 2)
    state = State()

    async def count_admitted(number: int, token: str, address: str) -> int:
        """Send at most `number` requests, until one is refused. Return the number of admitted requests."""
        for sent in range(number):
            headers = visitor(token) | {"X-Forwarded-For": address}
            answer = await http.get(PATH, headers=headers)
            if answer.status_code == 429:
                assert answer.headers["retry-after"]
                return sent
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-ratelimit-limit"] == str(LIMIT)
        return number

    async with (
        answering(backing, CHECK_LINK, state.check),
        answering(backing, CANVAS_ACCESS, state.access),
        answering(backing, GET_CANVAS, state.get),
        gateway(backing, rate_limit_requests_per_minute=LIMIT, trusted_proxies="127.0.0.1") as http,
    ):
        # One address with two links has one limit.
        began = time.monotonic()
        first = await count_admitted(LIMIT - 5, "svgxlink_good-a", "192.0.2.1")
        second = await count_admitted(LIMIT, "svgxlink_good-b", "192.0.2.1")
        assert LIMIT <= first + second <= most_admitted(LIMIT, began)
        # Other addresses with the first link are admitted, until the visitors of the link together reach its limit.
        admitted = first
        for number in range(2, 5):
            admitted += await count_admitted(LIMIT, "svgxlink_good-a", f"192.0.2.{number}")
        assert 2 * LIMIT <= admitted <= most_admitted(2 * LIMIT, began)
        # An account at the first address, and a visitor of another link, are not affected.
        signed_in = bearer(Role.EDITOR) | {"X-Forwarded-For": "192.0.2.1"}
        assert (await http.get(PATH, headers=signed_in)).status_code == 200
        assert await count_admitted(3, "svgxlink_good-c", "192.0.2.9") == 3


async def test_invented_links_are_limited_and_replace_no_cached_link(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown tokens count against the address before the state service is asked. Proves R-LIFE-8."""
    monkeypatch.setattr(token_cache, "MAX_ENTRIES", 2)
    state = State()
    limit = LIMIT + 2
    async with (
        answering(backing, CHECK_LINK, state.check),
        answering(backing, CANVAS_ACCESS, state.access),
        answering(backing, GET_CANVAS, state.get),
        gateway(backing, rate_limit_requests_per_minute=limit) as http,
    ):
        assert (await http.get(PATH, headers=visitor("svgxlink_good"))).status_code == 200
        began = time.monotonic()
        statuses = [
            (await http.get(PATH, headers=visitor(f"svgxlink_{number}"))).status_code
            for number in range(2 * limit)
        ]
        assert set(statuses) == {401, 429}
        assert len(state.checked) <= most_admitted(limit, began)
        asked = len(state.checked)
        assert (await http.get(PATH, headers=visitor("svgxlink_good"))).status_code == 200
        assert len(state.checked) == asked


@pytest.mark.parametrize("status", [429, 503])
async def test_link_that_cannot_be_looked_up_affects_no_account_with_a_sufficient_role(
    backing: DevStack, status: int
) -> None:
    """Without a sufficient role, the account gets the error of the look-up. Proves R-LIFE-2."""
    state = State()
    limit = 3 if status == 429 else LIMIT + 5  # with 3, a token returns only after 20 s
    has_role = True

    async def access(request: CanvasRequest, call: Call) -> Access:
        if not has_role:
            raise Forbidden
        return await state.access(request, call)

    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(answering(backing, CANVAS_ACCESS, access))
        await enter(answering(backing, GET_CANVAS, state.get))
        if status == 429:
            await enter(answering(backing, CHECK_LINK, state.check))
        http = await enter(gateway(backing, rate_limit_requests_per_minute=limit))
        if status == 429:  # another client at the address uses up the look-ups
            for number in range(limit + 1):
                await http.get(PATH, headers=visitor(f"svgxlink_{number}"))
        link = {"X-Share-Link": "svgxlink_good"}
        assert (await http.get(PATH, headers=visitor("svgxlink_good"))).status_code == status
        assert (await http.get(PATH, headers=bearer(Role.EDITOR) | link)).status_code == 200
        has_role = False
        account = bearer(Role.EDITOR)
        assert (await http.get(PATH, headers=account | link)).status_code == status
        assert (await http.get(PATH, headers=account)).status_code == 403
