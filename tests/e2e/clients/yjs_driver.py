"""Yjs clients from npm (`yjs` and `y-websocket`) in a Node process that tests control from asyncio.

Each `wait_` method waits inside the Node process. If the wait takes too long, the method raises `YjsError` with a
description of the wait.
"""

import asyncio
import base64
import itertools
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DRIVER_FOLDER = Path(__file__).parents[1] / "yjs"
"""The folder of `driver.mjs`."""
TIMEOUT = 30.0
"""Seconds that a wait may take by default."""

SYNC, AWARENESS, SAVED = 0, 1, 100
"""Message types in the first byte of a WebSocket message."""

_MAX_LINE_BYTES = 256 * 1024 * 1024
_STOP_TIMEOUT = 10.0
"""Seconds that the Node process may take to end before it is killed."""


class YjsError(Exception):
    """A command of the Node process that failed, or a wait that took too long."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Hashes of a document's content and history.

    `content` is the hash of the canvas attributes and elements. `vector` and `deleted` are the hashes of all
    insertions and all deletions ever made, so they show a lost edit even if a later edit has overwritten it. `all` is
    the hash of these three. `elements` counts elements and texts. `pending` is true if the document has updates that
    depend on missing updates.
    """

    content: str
    vector: str
    deleted: str
    all: str
    elements: int
    pending: bool


@dataclass(frozen=True, slots=True)
class Close:
    """The close code and reason of a connection. The code is None if the client closed the connection."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """The state and the history of a client's connections.

    `connections` counts all connections so far. `closes` are the latest 100 closes. `gave_up` is the close after which
    the provider does not reconnect. `updates` counts updates from the server. `edits` counts random edits.
    `longest_pause` is in milliseconds, from the end of a connection until the next connection was synced. `present`
    counts awareness states.

    Three fields are about the present connection only: `received` counts received messages by type, `document_messages`
    counts sent document messages (sync step 2 and updates), and `saved` is the last number of saved messages that the
    server reported, or None before its first report. `max_message` is the reported limit for one message in bytes, or
    None.
    """

    name: str
    connected: bool
    synced: bool
    connections: int
    closes: tuple[Close, ...]
    gave_up: Close | None
    updates: int
    edits: int
    longest_pause: float
    received: Mapping[int, int]
    document_messages: int
    saved: int | None
    max_message: int | None
    present: int


class YjsDriver:
    """The Node process. Use it as an async context manager; at the end of the block its clients end too."""

    def __init__(self, node: Path) -> None:
        self._node = node
        self._process: asyncio.subprocess.Process | None = None
        self._read_task: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=40)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(self._node),
            "driver.mjs",
            cwd=DRIVER_FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE_BYTES,
        )
        self._read_task = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, read_task = self._process, self._read_task
        assert process is not None
        assert process.stdin is not None
        assert read_task is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
        await read_task

    def kill(self) -> None:
        """Kill the process with SIGKILL. Its clients send no close frames."""
        assert self._process is not None
        self._process.kill()

    async def request(self, command: str, **settings: object) -> Any:
        """Run a command of `driver.mjs` and return its result. Raise `YjsError` if the command fails."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        if process.returncode is not None:
            raise YjsError(f"the Node process has ended with status {process.returncode}")
        number = next(self._numbers)
        reply = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        line = json.dumps({"id": number, "command": command, **settings})
        process.stdin.write(line.encode() + b"\n")
        try:
            await process.stdin.drain()
            return await reply
        finally:
            self._replies.pop(number, None)

    async def connect(
        self,
        name: str,
        url: str,
        room: str,
        *,
        params: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        awareness: Mapping[str, object] | None = None,
        tab: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> "YjsClient":
        """Create a client with an empty document. Do not wait for its connection.

        `options` are further settings: `version` of y-websocket, `offline`, `clientId` and `firstSendDelay`
        (`client.mjs`), and `hocuspocus`, which makes a Hocuspocus client (`hocuspocus.mjs`).

        `room` is the canvas id, in y-websocket's term, and is appended to the address `url`. Clients with `tab` behave
        as tabs of one browser: y-websocket also connects them with each other.
        """
        state = {} if awareness is None else {"awareness": dict(awareness)}
        settings = {"url": url, "room": room, "params": params or {}, "protocols": protocols}
        await self.request("connect", client=name, tab=tab, **settings, **state, **(options or {}))
        return YjsClient(self, name)

    async def destroy(self, clients: "Iterable[YjsClient]") -> None:
        """Close the clients' connections with a close frame, and forget the clients."""
        await self.request("destroy", clients=_names(clients))

    async def wait_converged(
        self,
        clients: "Iterable[YjsClient]",
        *,
        to: Digest | None = None,
        timeout: float = TIMEOUT,
    ) -> Digest:
        """Wait until all clients are synced and their documents are equal, and return the digest of these documents.

        With `to`, the documents must also have this digest.
        """
        return Digest(
            **await self.request(
                "await_converged",
                clients=_names(clients),
                timeout=timeout,
                **({} if to is None else {"digest": to.all}),
            )
        )

    async def wait_connected(
        self, clients: "Iterable[YjsClient]", *, timeout: float = TIMEOUT
    ) -> None:
        """Wait until all clients are connected."""
        await self.request("await_connected", clients=_names(clients), timeout=timeout)

    async def wait_synced(
        self, clients: "Iterable[YjsClient]", *, timeout: float = TIMEOUT
    ) -> None:
        """Wait until all clients have received the server's content."""
        await self.request("await_synced", clients=_names(clients), timeout=timeout)

    async def wait_saved(self, clients: "Iterable[YjsClient]", *, timeout: float = TIMEOUT) -> None:
        """Wait until the server has reported to each client that all its edits are committed."""
        await self.request("await_saved", clients=_names(clients), timeout=timeout)

    async def wait_for_elements(
        self, clients: "Iterable[YjsClient]", *ids: str, timeout: float = TIMEOUT
    ) -> None:
        """Wait until all clients have these elements."""
        await self.request("await_elements", clients=_names(clients), ids=ids, timeout=timeout)

    async def wait_for_attribute(
        self, clients: "Iterable[YjsClient]", name: str, value: str, *, timeout: float = TIMEOUT
    ) -> None:
        """Wait until all clients have this value of a canvas attribute."""
        await self.request(
            "await_attribute", clients=_names(clients), name=name, value=value, timeout=timeout
        )

    async def wait_for_presence(
        self, clients: "Iterable[YjsClient]", names: Iterable[str], *, timeout: float = TIMEOUT
    ) -> None:
        """Wait until each client has one awareness state for each of these values of `name`, and no other states."""
        await self.request(
            "await_present",
            clients=_names(clients),
            field="name",
            values=list(names),
            timeout=timeout,
        )

    async def start_random_edits(
        self, clients: "Sequence[YjsClient]", *, seed: int, rate: float
    ) -> None:
        """Let each client make random edits, `rate` per second, until `stop_random_edits`."""
        await self.request("start_random_edits", clients=_names(clients), seed=seed, rate=rate)

    async def stop_random_edits(self, clients: "Iterable[YjsClient]") -> None:
        """Stop the random edits."""
        await self.request("stop_random_edits", clients=_names(clients))

    async def wait_for_edits(
        self, clients: "Iterable[YjsClient]", count: int, *, timeout: float = TIMEOUT
    ) -> int:
        """Wait until the clients have made at least `count` random edits in total, and return the total."""
        made = await self.request(
            "await_edits", clients=_names(clients), count=count, timeout=timeout
        )
        return int(made)

    async def digest_of(self, update: bytes) -> Digest:
        """Return the digest of a document that consists of this update only."""
        encoded = base64.b64encode(update).decode()
        return Digest(**await self.request("digest_of", update=encoded))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            message = json.loads(line)
            if "event" in message:
                self._events.append(message)
                continue
            reply = self._replies.get(message["id"])
            if reply is None or reply.done():
                continue  # the caller was cancelled
            if "error" in message:
                reply.set_exception(YjsError(f"{message['error']}{self._recent_events()}"))
            else:
                reply.set_result(message["result"])
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(YjsError("the Node process has ended"))

    def _recent_events(self) -> str:
        return "".join(f"\n  {json.dumps(event)}" for event in self._events)


class YjsClient:
    """A Yjs client in the Node process."""

    def __init__(self, driver: YjsDriver, name: str) -> None:
        self.name = name
        self._driver = driver

    def __repr__(self) -> str:
        return f"YjsClient({self.name!r})"

    async def _request(self, command: str, **settings: object) -> Any:
        return await self._driver.request(command, client=self.name, **settings)

    async def reconnect(self) -> None:
        """Connect again after `disconnect` or after the provider gave up."""
        await self._request("reconnect")

    async def disconnect(self) -> None:
        """Close the connection with a close frame. The document stays and can be edited."""
        await self._request("disconnect")

    async def drop_connection(self) -> None:
        """Break the connection without a close frame. The provider reconnects by itself."""
        await self._request("drop_connection")

    async def drop_without_reconnect(self) -> None:
        """Break the connection without a close frame, and do not reconnect."""
        await self._request("drop_without_reconnect")

    async def destroy(self) -> None:
        """Close the connection with a close frame, and forget the client."""
        await self._driver.destroy([self])

    async def edit(self, *edits: Mapping[str, object]) -> None:
        """Make edits in one transaction, in the form that `edits.mjs` reads: {"op": "add", "id": …, "tag": …}."""
        await self._request("edit", edits=edits)

    async def add_element(self, element_id: str, tag: str = "rect", **attrs: str) -> None:
        """Add an element below the root."""
        await self.edit({"op": "add", "id": element_id, "tag": tag, "attrs": attrs})

    async def burst(self, count: int, *, size: int = 0) -> None:
        """Set the canvas attribute `burst` to each number from 1 to `count`, in one message each.

        `size`: the number of characters to which each value is padded.
        """
        await self._request("burst", count=count, size=size)

    async def drag(self, *ids: str, rate: float, seconds: float) -> None:
        """Move elements `rate` times a second. Each move of an element is two messages: one for x, one for y."""
        await self._request("drag", ids=ids, rate=rate, seconds=seconds)

    async def move_cursor(self, *, rate: float, seconds: float) -> None:
        """Change the awareness state `rate` times a second."""
        await self._request("move_cursor", rate=rate, seconds=seconds)

    async def status(self) -> ClientStatus:
        """Return the state and the history of the client's connections."""
        fields = await self._request("status")
        fields["closes"] = tuple(Close(**close) for close in fields["closes"])
        fields["gave_up"] = Close(**fields["gave_up"]) if fields["gave_up"] else None
        fields["received"] = {int(kind): count for kind, count in fields["received"].items()}
        return ClientStatus(**fields)

    async def wait_closed(self, count: int = 1, *, timeout: float = TIMEOUT) -> Close:
        """Wait until the client's connections were closed `count` times in total, and return the last close."""
        return Close(**await self._request("await_close", count=count, timeout=timeout))

    async def wait_received(self, kind: int, count: int, *, timeout: float = TIMEOUT) -> int:
        """Wait for `count` messages of a type on the present connection, and return how many have arrived."""
        return int(await self._request("await_received", type=kind, count=count, timeout=timeout))

    async def content(self) -> dict[str, Any]:
        """Return the whole document as JSON, with the keys `canvas` and `elements`."""
        content = await self._request("content")
        assert isinstance(content, dict)
        return content

    async def count_tags(self) -> dict[str, int]:
        """Return the number of elements of each tag."""
        return {str(tag): int(count) for tag, count in (await self._request("count_tags")).items()}

    async def digest(self) -> Digest:
        """Return the digest of the document."""
        return Digest(**await self._request("digest"))

    async def update(self) -> bytes:
        """Return the whole document as one Yjs update."""
        return base64.b64decode(await self._request("update"))

    async def set_awareness(self, state: Mapping[str, object] | None) -> None:
        """Set the client's awareness state. None removes it from the other clients."""
        await self._request("set_awareness", state=state)

    async def awareness_states(self) -> list[dict[str, Any]]:
        """Return the awareness states that this client has, including its own."""
        return list(await self._request("awareness_states"))


def _names(clients: Iterable[YjsClient]) -> list[str]:
    return [client.name for client in clients]
