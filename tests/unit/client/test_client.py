"""Calls of the client: credentials, renewal of tokens, retries, errors and pages."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from svgx_client import Client, ConnectionFailed, UnexpectedAnswer
from svgx_common.contract import auth, collab, state
from svgx_common.contract.errors import (
    Conflict,
    Internal,
    InvalidCredentials,
    NotFound,
    Overloaded,
    QuotaExceeded,
    SvgxError,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    problem_document,
)
from svgx_common.contract.live import undo
from tests.clock import Clock

URL = "http://svgx.test/prefix"
NOW = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
USER = {"id": "u", "username": "ada", "email": "a@b", "role": "editor", "created_at": NOW}
CANVAS = {
    "id": "c",
    "name": "Plan",
    "role": "owner",
    "revision": 0,
    "created_at": NOW,
    "updated_at": NOW,
}
CREATE = state.CreateCanvasRequest(name="Plan")
GET = state.CanvasRequest(canvas_id="c")
IMPORT = collab.ImportSvgRequest(canvas_id="c", content=b"<svg/>")

Answer = httpx2.Response | Exception


def problem(error: SvgxError) -> httpx2.Response:
    """Return the response of a gateway that refuses a request."""
    headers = {"content-type": "application/problem+json"}
    document = json.dumps(problem_document(error, "trace-1"))
    return httpx2.Response(error.status, headers=headers, content=document)


def ok(content: Any, status: int = 200) -> httpx2.Response:
    """Return a response with JSON."""
    return httpx2.Response(status, json=content)


class Server:
    """A server that answers requests from a script, and the clock of its client.

    It answers the requests of log-ins, renewals and log-outs by itself: the tokens are `access-1`, `access-2`, ….
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.answers: Iterator[Answer] = iter(())
        self.requests: list[httpx2.Request] = []
        self.sign_ins: list[str] = []
        self.pauses: list[float] = []
        self.refuses_refresh = False

    def client(self, **options: Any) -> Client:
        """Return a client of this server."""
        transport = httpx2.MockTransport(self._answer)
        return Client(URL, transport=transport, clock=self.clock, sleep=self._sleep, **options)

    def script(self, *answers: Answer) -> None:
        """Set the answers to the next requests."""
        self.answers = iter(answers)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.now += seconds

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)  # let other calls run, as during a real request
        name = request.url.path.removeprefix("/prefix/auth/")
        if name in ("login", "refresh", "logout"):
            return self._sign_in(name)
        self.requests.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _sign_in(self, name: str) -> httpx2.Response:
        self.sign_ins.append(name)
        if name == "logout":
            return httpx2.Response(204)
        if name == "refresh" and self.refuses_refresh:
            return problem(Unauthenticated())
        tokens = {"access_token": f"access-{len(self.sign_ins)}", "refresh_token": "refresh"}
        return ok({**tokens, "expires_in": 3600, "user": USER})


@pytest.fixture
def server() -> Server:
    """Return a server with its clock."""
    return Server()


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"token": "t"}, {"authorization": "Bearer t"}),
        ({"api_key": "k"}, {"x-api-key": "k"}),
        ({"link": "l"}, {"x-share-link": "l"}),
        ({"token": "t", "link": "l"}, {"authorization": "Bearer t", "x-share-link": "l"}),
        ({}, {}),
    ],
)
async def test_credentials_are_headers(
    server: Server, options: dict[str, str], headers: dict[str, str]
) -> None:
    server.script(ok(CANVAS))
    async with server.client(**options) as client:
        canvas = await client.call(state.GET_CANVAS, GET)
    assert canvas.name == "Plan"
    [request] = server.requests
    assert str(request.url) == f"{URL}/runtime/canvases/c"
    names = ("authorization", "x-api-key", "x-share-link")
    assert {name: request.headers[name] for name in names if name in request.headers} == headers
    assert server.sign_ins == []


@pytest.mark.parametrize(
    "options",
    [
        {"token": "secret", "api_key": "secret"},
        {"token": "secret", "username": "ada", "password": "secret"},
        {"username": "ada"},
        {"password": "secret"},
        {"token": "secret\n"},
        {"username": "ada", "password": "secret" * 500},
    ],
)
def test_wrong_credentials_are_refused_without_their_values(
    server: Server, options: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        server.client(**options)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["", "svgx.test", "ftp://svgx.test", "http://u:secret@h", "http://h?a"]
)
def test_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        Client(url)
    assert "secret" not in str(refused.value)


async def test_client_logs_in_once_and_logs_out(server: Server) -> None:
    """Calls at the same time share one log-in, and the client ends its session."""
    server.script(ok(CANVAS), ok(CANVAS))
    async with server.client(username="ada", password="secret") as client:
        await asyncio.gather(*(client.call(state.GET_CANVAS, GET) for _ in range(2)))
        assert "secret" not in repr(client) + str(vars(client))
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer access-1"] * 2
    assert server.sign_ins == ["login", "logout"]


async def test_client_that_called_nothing_does_not_log_in(server: Server) -> None:
    async with server.client(username="ada", password="secret"):
        pass
    assert server.sign_ins == []


async def test_token_is_renewed_before_it_expires(server: Server) -> None:
    server.script(*[ok(CANVAS)] * 3)
    async with server.client(username="ada", password="secret") as client:
        for seconds in (0, 3539, 1):
            server.clock.now += seconds
            await client.call(state.GET_CANVAS, GET)
    tokens = [request.headers["authorization"] for request in server.requests]
    assert tokens == ["Bearer access-1", "Bearer access-1", "Bearer access-2"]
    assert server.sign_ins == ["login", "refresh", "logout"]


async def test_refused_token_is_renewed_once(server: Server) -> None:
    """After a second 401 in a row, the call fails."""
    async with server.client(username="ada", password="secret") as client:
        server.script(problem(Unauthenticated()), ok(CANVAS))
        await client.call(state.GET_CANVAS, GET)
        assert server.sign_ins == ["login", "refresh"]
        server.script(problem(Unauthenticated()), problem(Unauthenticated()))
        with pytest.raises(Unauthenticated):
            await client.call(state.GET_CANVAS, GET)
        assert server.sign_ins == ["login", "refresh", "refresh"]


async def test_client_logs_in_again_after_its_session_ended(server: Server) -> None:
    server.refuses_refresh = True
    server.script(problem(Unauthenticated()), ok(CANVAS))
    async with server.client(username="ada", password="secret") as client:
        await client.call(state.GET_CANVAS, GET)
    assert server.sign_ins == ["login", "refresh", "login", "logout"]


async def test_refused_fixed_token_fails_at_once(server: Server) -> None:
    server.script(problem(Unauthenticated()))
    async with server.client(token="t") as client:
        with pytest.raises(Unauthenticated):
            await client.call(state.GET_CANVAS, GET)


async def test_refusal_is_the_error_of_the_contract(server: Server) -> None:
    """The error has the detail, the field and the limit of the problem document, and the trace id as a note.

    Proves R-CONTRACT-8.
    """
    server.script(problem(NotFound("there is no such canvas", field="canvas_id", limit=64)))
    async with server.client(token="t") as client:
        with pytest.raises(NotFound, match="no such canvas") as refused:
            await client.call(state.GET_CANVAS, GET)
    assert (refused.value.field, refused.value.limit) == ("canvas_id", 64)
    assert refused.value.__notes__ == ["trace id trace-1"]


@pytest.mark.parametrize("error", [TooManyRequests, Overloaded])
async def test_call_is_tried_again_with_the_same_key(
    server: Server, error: type[SvgxError]
) -> None:
    server.script(problem(error(retry_after=2.5)), problem(error(retry_after=4)), ok(CANVAS, 201))
    async with server.client(token="t") as client:
        await client.call(state.CREATE_CANVAS, CREATE)
    assert server.pauses == [2.5, 4]
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


@pytest.mark.parametrize(
    "answer",
    [
        problem(Unavailable(retry_after=1.0)),
        httpx2.Response(503, headers={"content-type": "text/html", "retry-after": "1"}),
    ],
)
async def test_call_that_may_have_changed_something_is_not_tried_again_after_503(
    server: Server, answer: Answer
) -> None:
    """The server may have executed it, so a second undo would undo a second edit. Reads are tried again."""
    server.script(answer)
    async with server.client(token="t") as client:
        with pytest.raises((Unavailable, UnexpectedAnswer)):
            await client.call(undo.UNDO_EDIT, undo.UndoRequest(canvas_id="c" * 32))
        server.script(answer, ok(CANVAS))
        await client.call(state.GET_CANVAS, GET)
    assert server.pauses == [1.0]


async def test_pause_of_zero_seconds_is_lengthened(server: Server) -> None:
    """Otherwise the client would send requests without a pause until its time limit."""
    server.script(problem(Overloaded(retry_after=0)), ok(CANVAS))
    async with server.client(token="t") as client:
        await client.call(state.GET_CANVAS, GET)
    assert server.pauses == [0.5]


async def test_calls_have_different_keys_and_reads_have_none(server: Server) -> None:
    server.script(ok(CANVAS, 201), ok(CANVAS, 201), ok(CANVAS, 201), ok(CANVAS))
    async with server.client(token="t") as client:
        await client.call(state.CREATE_CANVAS, CREATE)
        await client.call(state.CREATE_CANVAS, CREATE)
        await client.call(state.CREATE_CANVAS, CREATE, idempotency_key="mine")
        await client.call(state.GET_CANVAS, GET)
    first, second, third, fourth = (each.headers.get("idempotency-key") for each in server.requests)
    assert first != second
    assert (third, fourth) == ("mine", None)


async def test_retries_end_with_the_time_limit(server: Server) -> None:
    """The call fails as soon as the next pause would end after the limit."""
    server.script(*[problem(Overloaded(retry_after=12))] * 3)
    async with server.client(token="t") as client:
        with pytest.raises(Overloaded):
            await client.call(state.GET_CANVAS, GET)
        assert server.pauses == [12, 12]
        server.script(problem(QuotaExceeded(retry_after=3600)))
        with pytest.raises(QuotaExceeded) as refused:
            await client.call(state.CREATE_CANVAS, CREATE)
    assert refused.value.retry_after == 3600


@pytest.mark.parametrize(
    "error", [Internal(), Overloaded(), Conflict(retry_after=5.0), InvalidCredentials()]
)
async def test_other_errors_are_not_tried_again(server: Server, error: SvgxError) -> None:
    """A 409 with the time until a lock ends is an answer, and 503 without `Retry-After` names no time."""
    server.script(problem(error))
    async with server.client(token="t") as client:
        with pytest.raises(type(error)):
            await client.call(state.CREATE_CANVAS, CREATE)


def _lost() -> Answer:
    return httpx2.ReadError("connection reset")


def _unsent() -> Answer:
    return httpx2.ConnectError("connection refused")


async def test_request_without_an_answer_is_sent_again_once(server: Server) -> None:
    """The repetition has the same key, and waits while the server still executes the first request."""
    pending = Conflict("still being executed", field="idempotency-key", retry_after=1.0)
    server.script(_lost(), problem(pending), ok(CANVAS, 201))
    async with server.client(token="t") as client:
        await client.call(state.CREATE_CANVAS, CREATE)
        assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
        assert server.pauses == [0.5, 1.0]
        server.script(_lost(), _lost())
        with pytest.raises(ConnectionFailed, match="may have been carried out") as failed:
            await client.call(state.CREATE_CANVAS, CREATE)
    assert failed.value.sent
    assert failed.value.__cause__ is None


@pytest.mark.parametrize(("failure", "count"), [(_lost, 1), (_unsent, 2)])
async def test_import_is_sent_again_only_if_it_was_not_sent(
    server: Server, failure: Callable[[], Answer], count: int
) -> None:
    """A second import could replace the edits that others made after the first one."""
    server.script(failure(), failure())
    async with server.client(token="t") as client:
        with pytest.raises(ConnectionFailed):
            await client.call(collab.IMPORT_SVG, IMPORT)
    assert len(server.requests) == count


async def test_page_of_a_proxy_is_an_unexpected_answer(server: Server) -> None:
    page = {"content-type": "text/html"}
    server.script(
        httpx2.Response(503, headers={**page, "retry-after": "3"}),
        httpx2.Response(502, headers=page, content=b"<p>secret"),
    )
    async with server.client(token="t") as client:
        with pytest.raises(UnexpectedAnswer) as raised:
            await client.call(state.GET_CANVAS, GET)
    assert server.pauses == [3]
    assert raised.value.status == 502
    assert "secret" not in str(raised.value)


async def test_items_come_from_all_pages(server: Server) -> None:
    pages = [
        {"items": [{**CANVAS, "id": f"c{n}"}], "next": n and f"cursor-{n}"} for n in (2, 1, None)
    ]
    server.script(*map(ok, pages))
    request = state.ListCanvasesRequest(name="a b", limit=1)
    async with server.client(token="t") as client:
        found = [canvas.id async for canvas in client.items(state.LIST_CANVASES, request)]
    assert found == ["c2", "c1", "cNone"]
    queries = [dict(each.url.params) for each in server.requests]
    assert queries == [
        {"name": "a b", "limit": "1", **cursor}
        for cursor in ({}, {"cursor": "cursor-2"}, {"cursor": "cursor-1"})
    ]


async def test_closing_does_not_fail_after_the_session_ended(server: Server) -> None:
    """A second log-out is refused, and the client closes without an error."""
    server.script(ok(CANVAS))
    async with server.client(username="ada", password="secret") as client:
        await client.call(state.GET_CANVAS, GET)
        await client.call(auth.LOGOUT, auth.LogoutRequest())
    assert server.sign_ins == ["login", "logout", "logout"]
