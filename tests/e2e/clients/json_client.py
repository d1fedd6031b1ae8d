"""JSON clients of `/runtime/events`, and the canvas that such a client builds from its events."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from svgx_common.contract.live.json_messages import JSON_EVENTS_PATH
from tests.e2e.clients.api import ApiSession
from tests.e2e.clients.asyncapi_document import check_export, check_message
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.workspace import Workspace

TIMEOUT = 30.0
"""Seconds that a wait for an event may take."""

Event = dict[str, Any]


class JsonClient:
    """A JSON client, and its copy of the canvas."""

    def __init__(self, socket: ClientConnection, session: ApiSession, canvas: str) -> None:
        self.socket = socket
        self.session = session
        self.canvas = canvas
        self.hello: Event = {}
        """The answer to the handshake."""
        self.root: dict[str, str] = {}
        """The attributes of the root."""
        self.elements: dict[str, Event] = {}
        """The elements by id, as the JSON export has them."""
        self.reloads = 0
        """The number of `reload` events."""

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def handshake(self) -> Event:
        """Send the handshake, load the canvas, and return the answer."""
        await self.send("handshake")
        self.hello = await self.wait_for("handshake_ack")
        await self._load()
        return self.hello

    async def wait_for(self, kind: str, **fields: Any) -> Event:
        """Return the next event of a type, with these fields. Carry out the changes in all events before it."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                event = await self._receive()
                if event["type"] == kind and fields.items() <= event.items():
                    return event

    async def wait_for_lock(self, object_id: str) -> None:
        """Wait for the event that an object is locked."""
        async with asyncio.timeout(TIMEOUT):
            while (await self.wait_for("lock_acquired"))["lock"]["object_id"] != object_id:
                pass

    async def wait_for_element(self, element_id: str, **attrs: str) -> None:
        """Wait until the copy has an element with these attributes."""
        async with asyncio.timeout(TIMEOUT):
            while not self._has(element_id, attrs):
                await self._receive()

    async def wait_until_gone(self, element_id: str) -> None:
        """Wait until the copy has no such element."""
        async with asyncio.timeout(TIMEOUT):
            while element_id in self.elements:
                await self._receive()

    async def wait_until_equal(self) -> None:
        """Wait until the copy equals the JSON export."""
        async with asyncio.timeout(TIMEOUT):
            while (self.root, self.elements) != await self._export():
                await self._receive()

    async def ask(self, kind: str, answer: str, **fields: Any) -> Event:
        """Send a message with an id, and return its answer, which must be of type `answer`."""
        await self.send(kind, id=kind, **fields)
        async with asyncio.timeout(TIMEOUT):
            while True:
                event = await self._receive()
                if event.get("id") == kind:
                    assert event["type"] == answer, event
                    return event

    async def wait_closed(self) -> int | None:
        """Return the close code after the server has closed the connection."""
        return await wait_close_code(self.socket)

    def _has(self, element_id: str, attrs: dict[str, str]) -> bool:
        element = self.elements.get(element_id)
        return element is not None and attrs.items() <= element["attrs"].items()

    async def _receive(self) -> Event:
        """Return the next event, which docs/asyncapi.yaml describes."""
        event: Event = json.loads(await self.socket.recv())
        check_message(event)
        if event["type"] == "reload":
            self.reloads += 1
            await self._load()
        elif event["type"] == "edit_operation":
            for operation in event["operations"]:
                self._carry_out(operation)
        return event

    def _carry_out(self, operation: Event) -> None:
        match operation.pop("op"):
            case "root":
                self.root = operation["attrs"]
            case "put":
                self.elements[operation["id"]] = operation
            case "delete":
                self._remove(operation["id"])

    def _remove(self, element_id: str) -> None:
        self.elements.pop(element_id, None)
        for child in [
            each["id"] for each in self.elements.values() if each["parent"] == element_id
        ]:
            self._remove(child)

    async def _load(self) -> None:
        self.root, self.elements = await self._export()

    async def _export(self) -> tuple[dict[str, str], dict[str, Event]]:
        content = json.loads(await self.session.export(self.canvas, "json"))
        check_export(content)
        return content["canvas"], {each["id"]: each for each in content["elements"]}


@contextlib.asynccontextmanager
async def connect_json(
    workspace: Workspace,
    canvas: str,
    *,
    session: ApiSession | None = None,
    token: str | None = None,
    session_id: str = "tab-1",
) -> AsyncIterator[JsonClient]:
    """Connect a JSON client, without its handshake. `token` replaces the access token of `session`."""
    session = session or workspace.owner
    if token is None:
        token = await session.access_token()
    base = workspace.api.websocket_url.removesuffix("/runtime/events")
    query = f"canvas_id={canvas}&session_id={session_id}&token={token}"
    async with connect(f"{base}{JSON_EVENTS_PATH}?{query}", max_size=None) as socket:
        yield JsonClient(socket, session, canvas)
