"""Hocuspocus clients (npm `@hocuspocus/provider` 4) on the canvases of y-websocket clients."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import websockets

from svgx_common.contract.collab import HOCUSPOCUS_PATH
from svgx_yjs.hocuspocus import Writer
from svgx_yjs.lib0 import Encoder
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.hocuspocus import connect_hocuspocus
from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import YjsClient
from tests.e2e.realtime.test_awareness import RETURN_TIMEOUT
from tests.e2e.realtime.test_token_renewal import TokenIssuer


async def _check_saved(workspace: Workspace, canvas: str, *clients: YjsClient) -> set[str]:
    """Wait until all edits are saved, check that the clients and PostgreSQL agree, and return the element ids."""
    await workspace.driver.wait_saved(clients)
    digest = await workspace.driver.wait_converged(clients)
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest
    return set((await clients[0].content())["elements"])


async def test_hocuspocus_users_draw_together_and_reconnect(
    workspace: Workspace, canvas: str
) -> None:
    """Two clients draw, one of them offline for a while. Proves R-HOCUS-1 and R-HOCUS-3."""
    first, second = [await connect_hocuspocus(workspace, canvas) for _ in range(2)]
    await workspace.driver.wait_synced([first, second])
    await first.add_element("a")
    await second.add_element("b")
    assert await _check_saved(workspace, canvas, first, second) == {"a", "b"}

    await first.disconnect()
    await first.add_element("offline")
    assert await first.unsynced() > 0
    await second.add_element("meanwhile")
    await first.reconnect()
    assert await _check_saved(workspace, canvas, first, second) == {
        "a",
        "b",
        "offline",
        "meanwhile",
    }
    await second.drop_connection()
    await first.add_element("c")
    await workspace.driver.wait_for_elements([second], "c")


async def test_clients_of_both_protocols_see_each_other(workspace: Workspace, canvas: str) -> None:
    """Edits and presence pass between y-websocket and Hocuspocus clients. Proves R-HOCUS-1 and R-HOCUS-2."""
    yjs = await workspace.connect(canvas)
    hocuspocus = await connect_hocuspocus(workspace, canvas)
    both = [yjs, hocuspocus]
    await workspace.driver.wait_synced(both)
    await workspace.driver.wait_for_presence(both, [yjs.name, hocuspocus.name])
    await hocuspocus.set_awareness({"name": "renamed"})
    await workspace.driver.wait_for_presence(both, [yjs.name, "renamed"])
    await yjs.add_element("a")
    await hocuspocus.add_element("b")
    assert await _check_saved(workspace, canvas, *both) == {"a", "b"}
    await workspace.destroy(hocuspocus)
    await workspace.driver.wait_for_presence([yjs], [yjs.name])


@pytest.mark.parametrize(
    ("staying_kind", "returning_kind"),
    [("yjs", "hocuspocus"), ("hocuspocus", "yjs"), ("hocuspocus", "hocuspocus")],
)
async def test_presence_returns_after_a_reconnect_without_a_change(
    workspace: Workspace, canvas: str, staying_kind: str, returning_kind: str
) -> None:
    """After each of two reconnects, both clients see each other at once. Proves R-AWARE-4 and R-HOCUS-2."""
    kinds: dict[str, Callable[[str], Awaitable[YjsClient]]] = {
        "yjs": workspace.connect,
        "hocuspocus": partial(connect_hocuspocus, workspace),
    }
    staying, returning = [await kinds[kind](canvas) for kind in (staying_kind, returning_kind)]
    both = [staying, returning]
    names = [each.name for each in both]
    await workspace.driver.wait_for_presence(both, names)
    for _ in range(2):
        await returning.drop_without_reconnect()
        await workspace.driver.wait_for_presence([staying], names[:1])
        await returning.reconnect()
        await workspace.driver.wait_synced([returning])
        await workspace.driver.wait_for_presence(both, names, timeout=RETURN_TIMEOUT)


async def test_two_documents_share_one_socket(workspace: Workspace, canvas: str) -> None:
    """Each document has its own content and presence, and can be closed separately. Proves R-HOCUS-4."""
    other = await workspace.create_canvas()
    here = await connect_hocuspocus(workspace, canvas, socket="shared")
    there = await connect_hocuspocus(workspace, other, socket="shared")
    await workspace.driver.wait_synced([here, there])
    await here.add_element("here")
    await there.add_element("there")
    assert await _check_saved(workspace, canvas, here) == {"here"}
    assert await _check_saved(workspace, other, there) == {"there"}
    await workspace.driver.wait_for_presence([here], [here.name])

    await workspace.destroy(there)
    again = await connect_hocuspocus(workspace, other, socket="shared")
    await workspace.driver.wait_for_elements([again], "there")
    await here.add_element("still")
    assert await _check_saved(workspace, canvas, here) == {"here", "still"}
    assert (await here.status()).connections == 1


async def test_two_providers_of_one_document_share_one_socket(
    workspace: Workspace, canvas: str
) -> None:
    """Each of two providers with `sessionAwareness` has its own presence. Proves R-HOCUS-4."""
    pair = [
        await connect_hocuspocus(workspace, canvas, socket="pair", sessionAwareness=True)
        for _ in range(2)
    ]
    await workspace.driver.wait_synced(pair)
    await workspace.driver.wait_for_presence(pair, [each.name for each in pair])
    await pair[0].add_element("a")
    await workspace.driver.wait_for_elements(pair, "a")


@pytest.mark.parametrize(
    ("name", "tokens", "code"),
    [
        (None, ["garbage"], "4401"),
        (None, [""], "4401"),
        ("00000000-0000-4000-8000-000000000000", None, "4404"),
        ("a.b>*", None, "4404"),
        ("x" * 200, None, "4404"),
    ],
)
async def test_refused_document_leaves_other_documents_of_its_socket_open(
    workspace: Workspace, canvas: str, name: str | None, tokens: list[str] | None, code: str
) -> None:
    """The provider gets the reason, and the other documents of the socket stay open. Proves R-HOCUS-5."""
    other = await workspace.create_canvas()
    allowed = await connect_hocuspocus(workspace, other, socket="mixed")
    refused = await connect_hocuspocus(workspace, name or canvas, socket="mixed", tokens=tokens)
    assert (await refused.wait_denied()).startswith(f"{code} ")
    assert not (await refused.status()).synced
    await workspace.driver.wait_synced([allowed])
    await allowed.add_element("a")
    assert await _check_saved(workspace, other, allowed) == {"a"}


async def test_viewer_is_readonly_until_its_role_changes(workspace: Workspace, canvas: str) -> None:
    """The document's Hocuspocus scope follows the role, even while the client is connected. Proves R-HOCUS-6."""
    member = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, member, "viewer")
    owner = await workspace.connect(canvas)
    viewer = await connect_hocuspocus(workspace, canvas, session=workspace.api.session_of(member))
    await workspace.driver.wait_saved([owner, viewer])
    await viewer.wait_scope("readonly")
    for refused in ("x", "y", "z"):
        await viewer.add_element(refused)
    await viewer.set_awareness({"name": "has edited"})
    await workspace.driver.wait_for_presence([owner], [owner.name, "has edited"])
    await owner.add_element("a")
    assert await _check_saved(workspace, canvas, owner) == {"a"}
    assert await viewer.unsynced() == 3

    await workspace.owner.set_member(canvas, member, "editor")
    await viewer.wait_scope("read-write")
    # The server asks for the edits that it discarded before.
    assert await _check_saved(workspace, canvas, viewer, owner) == {"a", "x", "y", "z"}
    await workspace.owner.request("DELETE", f"/runtime/canvases/{canvas}/members/{member.id}")
    assert (await viewer.wait_denied()).startswith("4403 ")
    await viewer.wait_closed()
    assert not (await viewer.status()).synced


async def test_share_link_opens_a_document(workspace: Workspace, canvas: str) -> None:
    """The token of a share link is accepted in place of an access token. Proves R-HOCUS-5."""
    reply = await workspace.owner.request(
        "POST", f"/runtime/canvases/{canvas}/links/", json={"role": "viewer"}
    )
    visitor = await connect_hocuspocus(workspace, canvas, tokens=[reply.json()["token"]])
    await visitor.wait_scope("readonly")
    await workspace.driver.wait_synced([visitor])


async def test_server_asks_for_a_fresh_token_before_the_present_one_expires(
    workspace: Workspace, canvas: str
) -> None:
    """The provider's token function is called again. The document is closed when the last token expires.

    Proves R-HOCUS-9.
    """
    issuer = TokenIssuer(workspace.stack.jwt_secret, str((await workspace.owner.me())["id"]))
    started = time.monotonic()
    tokens = [issuer.sign(5), issuer.sign(7)]
    client = await connect_hocuspocus(workspace, canvas, tokens=tokens)
    await workspace.driver.wait_synced([client])
    assert (await client.wait_denied()).startswith("4401 ")
    assert time.monotonic() - started > 5.5
    await client.wait_closed()
    assert not (await client.status()).synced


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x02\x01\xff",
        b"\x00\x02\x05\xff",
        b"\x00\x07",
        b"\x01\x05\x01",
        b"\x63",
        b"\x02\x00\x05a",
    ],
    ids=["empty", "update", "sync", "sync type", "awareness", "type", "token"],
)
async def test_malformed_message_ends_its_document_only(
    workspace: Workspace, canvas: str, content: bytes
) -> None:
    """Another document of the socket stays open. A message without a readable document name closes the socket.

    Proves R-HOCUS-8.
    """
    other = await workspace.create_canvas()
    url = f"{workspace.api.websocket_url.removesuffix('/runtime/events')}{HOCUSPOCUS_PATH}"
    token = await workspace.owner.access_token()
    async with websockets.connect(url) as socket, asyncio.timeout(20):
        here, there = Writer(canvas), Writer(other)
        await socket.send(here.named(content))
        for writer in (here, there):
            await socket.send(writer.named(Encoder().uint(2).uint(0).text(token).finish()))
        await socket.send(here.named(content))
        received = set[bytes]()
        while not any(each.startswith(here.close("")[:-1]) for each in received):
            received.add(bytes(await socket.recv(decode=False)))
        await socket.send(here.named(content))
        await socket.send(there.named(b"\x00\x00\x01\x00"))
        while there.named(b"\x00\x01\x02\x00\x00") not in received:
            received.add(bytes(await socket.recv(decode=False)))
        refusal = here.permission_denied("4400")[:-5]
        assert any(each.startswith(refusal) and b"4400 " in each for each in received)
        await socket.send(b"\xff")
        assert await wait_close_code(socket) == 4400


async def test_stateless_message_reaches_no_other_client(workspace: Workspace, canvas: str) -> None:
    """The gateway ignores stateless messages of clients, and the connection continues. Proves R-HOCUS-7."""
    pair = [await connect_hocuspocus(workspace, canvas) for _ in range(2)]
    await workspace.driver.wait_synced(pair)
    await pair[0].send_stateless("hello")
    await pair[0].add_element("a")
    await workspace.driver.wait_for_elements(pair, "a")
    assert await pair[1].stateless() == []
