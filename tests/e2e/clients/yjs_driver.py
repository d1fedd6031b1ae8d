"""Real Yjs clients: npm `yjs` and `y-websocket` in a Node process, steered from asyncio.

Everything that waits, waits in the Node process for an event there; a wait that fails says what each client had.
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

FOLDER = Path(__file__).parents[1] / "yjs"
TIMEOUT = 30.0
"""Seconds a wait may take."""

SYNC, AWARENESS, SAVED = 0, 1, 100
"""Message types on the wire."""

_LONGEST_LINE = 256 * 1024 * 1024
_STOP_TIMEOUT = 10.0


class YjsError(Exception):
    """A request to the Node process failed, or a wait took too long."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a document holds.

    `content` is the hash of what people see; `vector` and `deleted` are the hashes of every insertion and deletion
    ever made, so a lost edit shows even when a later one covers it; `all` is the hash of the three. `elements` counts
    elements and texts. `pending`: it has updates that wait for others, which are missing.
    """

    content: str
    vector: str
    deleted: str
    all: str
    elements: int
    pending: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended; no code when the client's own side ended it."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """A client's connection so far. `gave_up`: the close after which the provider does not come back.

    `connections` counts all of them. `received` (by message type), `documents` (messages sent that change the
    document) and `saved` (what the server said of those, None before it did) are the present connection's. `updates`
    counts changes of the document that came from the server, `edits` those that random drawing made. `longest_pause` is
    in milliseconds, from the end of a connection until the next one was synced.
    """

    name: str
    connected: bool
    synced: bool
    connections: int
    closes: tuple[Closed, ...]
    gave_up: Closed | None
    updates: int
    edits: int
    longest_pause: float
    received: Mapping[int, int]
    documents: int
    saved: int | None
    present: int


class YjsDriver:
    """The Node process. Use it as an async context manager; its clients end with it."""

    def __init__(self, node: Path) -> None:
        self._node = node
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=40)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(self._node),
            "driver.mjs",
            cwd=FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, reader = self._process, self._reader
        assert process is not None
        assert process.stdin is not None
        assert reader is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader

    def kill(self) -> None:
        """SIGKILL: all its clients are gone without a word."""
        assert self._process is not None
        self._process.kill()

    async def ask(self, do: str, **settings: object) -> Any:
        """One request of `driver.mjs` and its answer. Raises YjsError."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        if process.returncode is not None:
            raise YjsError(f"the Node process has ended with status {process.returncode}")
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        line = json.dumps({"id": number, "do": do, **settings})
        process.stdin.write(line.encode() + b"\n")
        try:
            await process.stdin.drain()
            return await answer
        finally:
            self._answers.pop(number, None)

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
    ) -> "YjsClient":
        """A new client with an empty document. `url` is the server's, without the room. Does not wait.

        All with `tab` are tabs of one browser: y-websocket also connects them with one another.
        """
        state = {} if awareness is None else {"awareness": dict(awareness)}
        settings = {"url": url, "room": room, "params": params or {}, "protocols": protocols}
        await self.ask("connect", client=name, tab=tab, **settings, **state)
        return YjsClient(self, name)

    async def destroy(self, clients: "Iterable[YjsClient]") -> None:
        """Close their connections in order and forget them."""
        await self.ask("destroy", clients=_names(clients))

    async def converged(
        self,
        clients: "Iterable[YjsClient]",
        *,
        to: Digest | None = None,
        timeout: float = TIMEOUT,
    ) -> Digest:
        """Wait until all are connected and hold the same (with `to`: exactly that), and return what that is."""
        return Digest(
            **await self.ask(
                "await_converged",
                clients=_names(clients),
                timeout=timeout,
                **({} if to is None else {"digest": to.all}),
            )
        )

    async def connected(self, clients: "Iterable[YjsClient]", *, timeout: float = TIMEOUT) -> None:
        """Wait until all have a connection."""
        await self.ask("await_connected", clients=_names(clients), timeout=timeout)

    async def synced(self, clients: "Iterable[YjsClient]", *, timeout: float = TIMEOUT) -> None:
        """Wait until all have got the server's content."""
        await self.ask("await_synced", clients=_names(clients), timeout=timeout)

    async def saved(self, clients: "Iterable[YjsClient]", *, timeout: float = TIMEOUT) -> None:
        """Wait until the server has told each that everything it did is committed."""
        await self.ask("await_saved", clients=_names(clients), timeout=timeout)

    async def have(
        self, clients: "Iterable[YjsClient]", *ids: str, timeout: float = TIMEOUT
    ) -> None:
        """Wait until all have these elements."""
        await self.ask("await_elements", clients=_names(clients), ids=ids, timeout=timeout)

    async def have_attribute(
        self, clients: "Iterable[YjsClient]", name: str, value: str, *, timeout: float = TIMEOUT
    ) -> None:
        """Wait until the canvas itself has this attribute for all."""
        await self.ask(
            "await_attribute", clients=_names(clients), name=name, value=value, timeout=timeout
        )

    async def see(
        self, clients: "Iterable[YjsClient]", names: Iterable[str], *, timeout: float = TIMEOUT
    ) -> None:
        """Wait until all see exactly those present whose awareness has these values under `name`."""
        await self.ask(
            "await_present",
            clients=_names(clients),
            field="name",
            values=list(names),
            timeout=timeout,
        )

    async def draw(self, clients: "Sequence[YjsClient]", *, seed: int, rate: float) -> None:
        """Each draws at random, `rate` edits a second, until `rest`."""
        await self.ask("draw", clients=_names(clients), seed=seed, rate=rate)

    async def rest(self, clients: "Iterable[YjsClient]") -> None:
        """End random drawing."""
        await self.ask("rest", clients=_names(clients))

    async def drawn(
        self, clients: "Iterable[YjsClient]", count: int, *, timeout: float = TIMEOUT
    ) -> int:
        """Wait until random drawing has made so many edits in total; returns how many."""
        made = await self.ask("await_edits", clients=_names(clients), count=count, timeout=timeout)
        return int(made)

    async def digest_of(self, update: bytes) -> Digest:
        """What a document holds that got this update and nothing else."""
        encoded = base64.b64encode(update).decode()
        return Digest(**await self.ask("digest_of", update=encoded))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            message = json.loads(line)
            if "event" in message:
                self._events.append(message)
                continue
            answer = self._answers.get(message["id"])
            if answer is None or answer.done():
                continue  # the test that asked was cancelled
            if "error" in message:
                answer.set_exception(YjsError(f"{message['error']}{self._recent_events()}"))
            else:
                answer.set_result(message["ok"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(YjsError("the Node process has ended"))

    def _recent_events(self) -> str:
        return "".join(f"\n  {json.dumps(event)}" for event in self._events)


class YjsClient:
    """One client of the Node process."""

    def __init__(self, driver: YjsDriver, name: str) -> None:
        self.name = name
        self._driver = driver

    def __repr__(self) -> str:
        return f"YjsClient({self.name!r})"

    async def _ask(self, do: str, **settings: object) -> Any:
        return await self._driver.ask(do, client=self.name, **settings)

    async def reconnect(self) -> None:
        """Connect again after `disconnect` or after the provider gave up."""
        await self._ask("reconnect")

    async def disconnect(self) -> None:
        """Close the connection in order; the document stays and can be edited."""
        await self._ask("disconnect")

    async def drop(self) -> None:
        """Break the connection without a word; the provider comes back by itself."""
        await self._ask("drop")

    async def vanish(self) -> None:
        """Break the connection without a word, and do not come back."""
        await self._ask("vanish")

    async def destroy(self) -> None:
        """Close the connection in order and forget the client."""
        await self._driver.destroy([self])

    async def edit(self, *edits: Mapping[str, object]) -> None:
        """Edits in one transaction, as `drawing.mjs` has them: {"op": "add", "id": …, "tag": …}."""
        await self._ask("edit", edits=edits)

    async def add(self, element_id: str, tag: str = "rect", **attrs: str) -> None:
        """Add one element below the root."""
        await self.edit({"op": "add", "id": element_id, "tag": tag, "attrs": attrs})

    async def status(self) -> Status:
        """The connection so far."""
        found = await self._ask("status")
        found["closes"] = tuple(Closed(**close) for close in found["closes"])
        found["gave_up"] = Closed(**found["gave_up"]) if found["gave_up"] else None
        found["received"] = {int(kind): count for kind, count in found["received"].items()}
        return Status(**found)

    async def closed(self, count: int = 1, *, timeout: float = TIMEOUT) -> Closed:
        """Wait until the connection was closed that often in all, and return the last close."""
        return Closed(**await self._ask("await_close", count=count, timeout=timeout))

    async def received(self, kind: int, count: int, *, timeout: float = TIMEOUT) -> int:
        """Wait for so many messages of a type on the present connection; returns how many came."""
        return int(await self._ask("await_received", type=kind, count=count, timeout=timeout))

    async def content(self) -> dict[str, Any]:
        """The whole document as JSON: `canvas` and `elements`."""
        found = await self._ask("content")
        assert isinstance(found, dict)
        return found

    async def tags(self) -> dict[str, int]:
        """How many elements of each tag the document has."""
        return {str(tag): int(count) for tag, count in (await self._ask("tags")).items()}

    async def digest(self) -> Digest:
        """What the document holds now."""
        return Digest(**await self._ask("digest"))

    async def update(self) -> bytes:
        """The whole document as one Yjs update."""
        return base64.b64decode(await self._ask("update"))

    async def set_awareness(self, state: Mapping[str, object] | None) -> None:
        """Say something about oneself; None leaves the others' lists."""
        await self._ask("set_awareness", state=state)

    async def awareness(self) -> list[dict[str, Any]]:
        """The states of everybody this client sees, itself included."""
        return list(await self._ask("awareness"))


def _names(clients: Iterable[YjsClient]) -> list[str]:
    return [client.name for client in clients]
