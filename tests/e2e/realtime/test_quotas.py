"""The effects of quotas on Yjs clients and HTTP clients."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.clients.api import CANVASES, SVG_TYPE
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace
from tests.polling import REQUEST_POLL_SECONDS, pause

CONFIG = "/security/quotas/config/"
QUOTA = 103
"""The type of the messages that tell a client about a quota."""

SIZE = 200_000
"""Size of each edit of the flood in bytes."""

BOUND = 1_000_000
"""Bytes that an account's edits may add in a day."""

SetQuotas = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def set_quotas(workspace: Workspace) -> AsyncIterator[SetQuotas]:
    """Return a function that sets quotas. Remove all quotas after the test."""

    async def put(**config: Any) -> dict[str, Any]:
        response = await workspace.admin.request("PUT", CONFIG, json=config)
        assert response.status_code == 200, response.text
        stored: dict[str, Any] = response.json()
        return stored

    yield put
    await put()


async def test_flood_of_one_account_is_stopped_while_another_edits_the_same_canvas(
    workspace: Workspace, canvas: str, set_quotas: SetQuotas
) -> None:
    """The close reason states the limit and the time of the next attempt.

    The client's edits are saved once the quota allows them.

    Proves R-QUOTA-2 and R-QUOTA-3.
    """
    flooder = await workspace.create_user()
    await workspace.owner.set_member(canvas, flooder, "editor")
    session = workspace.api.session_of(flooder)
    await set_quotas(users={flooder.id: {"journal_bytes_per_day": BOUND}})
    flood = await workspace.connect(canvas, session=session)
    other = await workspace.connect(canvas)
    await workspace.driver.wait_saved([flood, other])
    sent = 0
    while not (status := await flood.status()).closes:
        await flood.burst(1, size=SIZE)
        sent += SIZE
        await pause()
    (close, *_) = status.closes
    assert close.code == 1013
    assert close.reason.startswith(
        f"the edits of an account may add at most {BOUND} bytes in a day; try"
    )
    assert BOUND <= sent < 100 * BOUND
    await other.add_element("by-another")
    await workspace.driver.wait_saved([other])
    refused = await session.request(
        "PUT", f"/runtime/canvases/{canvas}/svg", content=b"<svg/>", headers=SVG_TYPE
    )
    problem = check_problem(refused, 429, "quota_exceeded")
    assert problem["limit"] == BOUND
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    usage = await session.request("GET", "/runtime/usage/")
    assert usage.json()["uses"][0]["status"] == "over"
    assert usage.headers["Svgx-Quota"].startswith('"account_journal_bytes_per_day";used=')
    assert "Svgx-Quota" not in (await workspace.owner.request("GET", "/auth/me")).headers
    await set_quotas()
    await workspace.driver.wait_saved([flood])
    await workspace.driver.wait_converged([flood, other])


async def test_response_about_a_full_canvas_has_the_quota_of_the_canvas(
    workspace: Workspace, canvas: str, set_quotas: SetQuotas
) -> None:
    """Other requests of the caller do not have it, and neither does the refusal of a stranger. Proves R-QUOTA-3."""
    await set_quotas(canvases={canvas: {"content_bytes": 0}})
    path = f"{CANVASES}{canvas}"
    async with asyncio.timeout(20):
        while "Svgx-Quota" not in (response := await workspace.owner.request("GET", path)).headers:
            await pause(REQUEST_POLL_SECONDS)
    expected = '"canvas_content_bytes";used=0;limit=0;status=over'
    assert response.headers["Svgx-Quota"] == expected
    lock = {"canvas_id": canvas, "object_id": "roof"}
    response = await workspace.owner.request("POST", "/runtime/lock/", json=lock)
    assert response.headers["Svgx-Quota"] == expected
    stranger = workspace.api.session_of(await workspace.create_user())
    refused = await stranger.request("GET", path)
    check_problem(refused, 403, "forbidden")
    for response in (refused, await workspace.owner.request("GET", "/auth/me")):
        assert "Svgx-Quota" not in response.headers


async def test_client_with_quota_notices_stays_connected_and_its_edits_are_saved_later(
    workspace: Workspace, canvas: str, set_quotas: SetQuotas
) -> None:
    """While its edits are refused, the client gets the edits of others, and may delete elements. Proves R-QUOTA-3."""
    eager = await workspace.create_user()
    await workspace.owner.set_member(canvas, eager, "editor")
    session = workspace.api.session_of(eager)
    await set_quotas(users={eager.id: {"journal_bytes_per_day": BOUND}})
    params = {"token": await session.access_token(), "saved": "1", "quota": "1"}
    client = await workspace.connect(canvas, params=params)
    other = await workspace.connect(canvas)
    await client.add_element("to-delete")
    await client.burst(1, size=BOUND)
    await workspace.driver.wait_saved([client, other])
    await client.wait_received(QUOTA, 1)
    await client.add_element("beyond-the-bound")
    await other.add_element("by-another")
    await workspace.driver.wait_for_elements([client], "by-another")
    assert "beyond-the-bound" not in (await other.content())["elements"]
    await client.edit({"op": "delete", "id": "to-delete"})
    async with asyncio.timeout(20):
        while "to-delete" in (await other.content())["elements"]:
            await pause()
    await set_quotas()
    await workspace.driver.wait_for_elements([other], "beyond-the-bound")
    await workspace.driver.wait_saved([client])
    status = await client.status()
    assert status.closes == ()
    assert status.received[QUOTA] >= 2


async def test_repeated_request_gets_its_response_although_its_quota_is_used_up(
    workspace: Workspace, canvas: str, set_quotas: SetQuotas
) -> None:
    """A client that lost the response repeats its request after the quota is used up. Proves R-HTTP-9.

    A new request is refused with 429. The refusal is not stored, so the request is accepted when the quota allows it.
    """
    editor = await workspace.create_user()
    await workspace.owner.set_member(canvas, editor, "editor")
    session = workspace.api.session_of(editor)
    versions = f"/runtime/canvases/{canvas}/versions/"
    version = (await session.request("POST", versions, json={"name": "first"})).json()["id"]

    async def restore(key: str) -> Any:
        path = f"{versions}{version}/restore"
        return await session.request("POST", path, headers={"Idempotency-Key": key})

    first = await restore("one")
    assert first.status_code == 200, first.text
    await set_quotas(users={editor.id: {"journal_bytes_per_day": 0}})
    async with asyncio.timeout(20):
        while (await restore(secrets.token_hex(8))).status_code != 429:
            await pause()
            svg = b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'
            path = f"/runtime/canvases/{canvas}/svg"
            await session.request("PUT", path, content=svg, headers=SVG_TYPE)
    assert (await restore("two")).status_code == 429
    repeated = await restore("one")
    assert (repeated.status_code, repeated.json()) == (200, first.json())
    assert repeated.headers["Idempotency-Replayed"] == "true"
    await set_quotas()
    async with asyncio.timeout(20):
        while (await restore("two")).status_code != 200:
            await pause()


async def test_post_refused_by_a_full_quota_succeeds_later_with_the_same_key(
    workspace: Workspace, set_quotas: SetQuotas
) -> None:
    """A refusal with `quota_full` is not stored for the key. Proves R-HTTP-9."""
    editor = await workspace.create_user()
    session = workspace.api.session_of(editor)

    async def create(key: str) -> Any:
        headers = {"Idempotency-Key": key}
        return await session.request("POST", CANVASES, json={"name": "n"}, headers=headers)

    await set_quotas(users={editor.id: {"canvases": 0}})
    async with asyncio.timeout(20):
        while (await create(secrets.token_hex(8))).status_code == 201:
            await pause()
    check_problem(await create("one"), 403, "quota_full")
    await set_quotas()
    async with asyncio.timeout(20):
        while (await create("one")).status_code != 201:
            await pause()
