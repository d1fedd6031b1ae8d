"""The Python client with the real services."""

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from svgx_client import Client, ConnectionFailed
from svgx_common.contract import api_keys, auth, collab, state
from svgx_common.contract.administration import sessions
from svgx_common.contract.errors import Forbidden, Invalid, NotFound, Unauthenticated
from svgx_common.contract.live import element_changes, undo
from svgx_common.contract.policy import Role
from svgx_common.contract.storage import links, values
from svgx_devstack import DevStack
from tests import leaks

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle id="sun" r="4"/></svg>'
README = Path(__file__).parents[3] / "libs/client/README.md"
PASSWORD = f"{leaks.PASSWORD_PREFIX}client"


@pytest.fixture(scope="module")
async def admin(stack: DevStack) -> AsyncIterator[Client]:
    """Open a client of the stack's admin."""
    async with Client(
        stack.url, username=stack.admin_username, password=stack.admin_password
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def user(admin: Client) -> auth.User:
    """Create an editor's account."""
    request = auth.CreateUserRequest(
        username="client", email="client@example.org", password=PASSWORD, role=Role.EDITOR
    )
    return await admin.call(auth.CREATE_USER, request)


@pytest.fixture
async def client(stack: DevStack, user: auth.User) -> AsyncIterator[Client]:
    """Open a client of the editor."""
    async with Client(stack.url, username=user.username, password=PASSWORD) as client:
        yield client


async def test_canvas_is_created_edited_and_exported(client: Client) -> None:
    canvas = await client.call(state.CREATE_CANVAS, state.CreateCanvasRequest(name="Plan · été"))
    canvas_id = canvas.id
    imported = await client.call(
        collab.IMPORT_SVG, collab.ImportSvgRequest(canvas_id=canvas_id, content=SVG)
    )
    assert imported.elements == 1
    rect = element_changes.CreateElement(op="create", tag="rect", attrs={"width": "2"})
    changed = await client.call(
        element_changes.CHANGE_ELEMENTS,
        element_changes.ChangeElementsRequest(canvas_id=canvas_id, operations=[rect]),
    )
    undone = await client.call(undo.UNDO_EDIT, undo.UndoRequest(canvas_id=canvas_id))
    assert undone.changed == changed.created
    exported = await client.call(state.EXPORT, state.ExportRequest(canvas_id=canvas_id))
    assert exported.media_type == "image/svg+xml"
    assert exported.filename == "Plan · été.svg"
    assert b"<circle" in exported.content
    assert b"<rect" not in exported.content


async def test_values_and_empty_replies(client: Client) -> None:
    """A stored value with special characters in its key is read and deleted."""
    stored = await client.call(
        values.PERSIST_VALUE, values.PersistRequest(key="a:1@tab~b", value={"é": [1, None]})
    )
    key = values.ValueRequest(key="a:1@tab~b")
    assert (await client.call(values.RETRIEVE_VALUE, key)).value == {"é": [1, None]}
    request = values.DeleteValueRequest(key="a:1@tab~b", version=stored.version)
    await client.call(values.DELETE_VALUE, request)
    with pytest.raises(NotFound):
        await client.call(values.RETRIEVE_VALUE, key)


async def test_list_has_the_items_of_all_pages(client: Client) -> None:
    names = {f"paged {number}" for number in range(5)}
    for name in names:
        await client.call(state.CREATE_CANVAS, state.CreateCanvasRequest(name=name))
    request = state.ListCanvasesRequest(name="paged", limit=2)
    assert {canvas.name async for canvas in client.items(state.LIST_CANVASES, request)} == names


async def test_repeated_call_with_a_key_is_executed_once(client: Client) -> None:
    request = state.CreateCanvasRequest(name="Once")
    first = await client.call(state.CREATE_CANVAS, request, idempotency_key="once")
    second = await client.call(state.CREATE_CANVAS, request, idempotency_key="once")
    assert second == first


async def test_refusals_are_errors_of_the_contract(client: Client) -> None:
    """The error names the field, and the class tells the refusals apart."""
    create = auth.CreateUserRequest(
        username="other", email="other@example.org", password=PASSWORD, role=Role.EDITOR
    )
    with pytest.raises(Forbidden):
        await client.call(auth.CREATE_USER, create)
    with pytest.raises(NotFound, match="no such canvas"):
        await client.call(state.GET_CANVAS, state.CanvasRequest(canvas_id="unknown"))
    canvas = await client.call(state.CREATE_CANVAS, state.CreateCanvasRequest(name="Plan"))
    update = element_changes.UpdateElement(op="update", id="none", attrs={"r": "1"})
    with pytest.raises((Invalid, NotFound)) as refused:
        await client.call(
            element_changes.CHANGE_ELEMENTS,
            element_changes.ChangeElementsRequest(canvas_id=canvas.id, operations=[update]),
        )
    assert refused.value.field == "operations[0].id"


async def test_share_link_admits_a_client_without_an_account(
    stack: DevStack, client: Client
) -> None:
    canvas = await client.call(state.CREATE_CANVAS, state.CreateCanvasRequest(name="Shared"))
    link = await client.call(
        links.CREATE_LINK, links.CreateLinkRequest(canvas_id=canvas.id, role=links.LinkRole.VIEWER)
    )
    async with Client(stack.url, link=link.token) as visitor:
        request = state.CanvasRequest(canvas_id=canvas.id)
        assert (await visitor.call(state.GET_CANVAS, request)).name == "Shared"
        assert link.token not in repr(visitor)


async def test_session_that_an_admin_ended_is_opened_again(
    admin: Client, client: Client, user: auth.User
) -> None:
    """The refresh token is refused too, so the client logs in again."""
    await client.call(auth.ME, auth.MeRequest())
    await admin.call(sessions.END_USER_SESSIONS, auth.UserRequest(user_id=user.id))
    assert (await client.call(auth.ME, auth.MeRequest())).id == user.id


async def test_refused_access_token_is_an_error_without_the_token(
    stack: DevStack, user: auth.User, caplog: pytest.LogCaptureFixture
) -> None:
    """The token of a session that has ended is refused. No token and no password is in an error or a log record."""
    caplog.set_level(logging.DEBUG)
    login = auth.LoginRequest(username=user.username, password=PASSWORD)
    async with Client(stack.url) as anonymous:
        tokens = await anonymous.call(auth.LOGIN, login)
    leaks.OPAQUE_SECRETS.add(tokens.refresh_token)
    async with Client(stack.url, token=tokens.access_token) as client:
        await client.call(auth.LOGOUT, auth.LogoutRequest())
        with pytest.raises(Unauthenticated) as refused:
            await client.call(auth.ME, auth.MeRequest())
    shown = f"{refused.value!r} {refused.value} {client!r} {caplog.text}"
    for secret in (tokens.access_token, tokens.refresh_token, PASSWORD):
        assert secret not in shown


async def test_closed_client_has_ended_its_session(stack: DevStack, user: auth.User) -> None:
    async with Client(stack.url, username=user.username, password=PASSWORD) as first:
        await first.call(auth.ME, auth.MeRequest())
    async with Client(stack.url, username=user.username, password=PASSWORD) as second:
        request = auth.ListSessionsRequest()
        found = [session async for session in second.items(auth.LIST_SESSIONS, request)]
    assert [session.current for session in found] == [True]


async def test_example_of_the_readme_works(stack: DevStack, client: Client) -> None:
    """The example runs as it is, with another address and key."""
    key = await client.call(
        api_keys.CREATE_API_KEY, api_keys.CreateApiKeyRequest(name="readme", role=Role.EDITOR)
    )
    readme = await asyncio.to_thread(README.read_text, encoding="utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    for old, new in (("http://localhost:8000", stack.url), ("svgx_…", key.key)):
        assert old in example
        example = example.replace(old, new)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(example.encode())
    assert process.returncode == 0
    assert output.decode().startswith("Floor plan.svg b'<svg ")
    assert "Floor plan 0\n" in output.decode()


async def test_unreachable_server_is_a_failed_connection() -> None:
    async with Client("http://127.0.0.1:1", token="t") as client:
        with pytest.raises(
            ConnectionFailed, match=r"cannot connect to http://127.0.0.1:1"
        ) as failed:
            await client.call(auth.ME, auth.MeRequest())
    assert not failed.value.sent
