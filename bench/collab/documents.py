"""The documents that fresh clients receive and that PostgreSQL has, and uploads of large documents."""

import time
from collections.abc import Iterable, Mapping, Sequence

from pycrdt import Doc, Map

from bench.collab import edits
from bench.collab.arrivals import messages
from bench.collab.servers import Server
from bench.collab.sockets import Client, Clients
from svgx_yjs import protocol
from svgx_yjs.lib0 import Decoder

_VERIFY_SECONDS = 20.0
_UPLOAD_SECONDS = 180.0
_QUIET_SECONDS = 0.2


class NotDelivered(Exception):
    """The server sent no document to a fresh client, or did not take an upload."""


def count_missing(
    server: Server, rooms: Sequence[str], member: int, written: Sequence[Mapping[str, int]]
) -> int:
    """Count the writers with a last value that is missing in a fresh client's document or in the saved document.

    Wait up to 20 s for late values. `written` has, for each room, the number of each writer's last edit by the writer's
    element name.
    """
    until = time.monotonic() + _VERIFY_SECONDS
    waiting = dict(zip(rooms, written, strict=True))
    with Clients() as clients:
        while True:
            lacking = {
                room: _lacking(server, room, update, waiting[room])
                for room, update in read(clients, server, list(waiting), member).items()
            }
            waiting = {room: waiting[room] for room, names in lacking.items() if names}
            if not waiting or time.monotonic() > until:
                return sum(map(len, lacking.values()))
            clients.run(0.1)


def _lacking(server: Server, room: str, update: bytes, written: Mapping[str, int]) -> set[str]:
    """Return the names of the elements with a last value that is missing in an update or in the saved document."""
    updates = [update]
    if (saved := server.saved_document(room)) is not None:
        updates.append(saved)
    return {
        name
        for each in updates
        for name, number in last_numbers(each, written).items()
        if number != written[name]
    }


def read(
    clients: Clients, server: Server, rooms: Sequence[str], member: int
) -> Mapping[str, bytes]:
    """Connect a fresh client to each room, and return the documents that the clients receive, by room.

    Raises `NotDelivered` when a client gets no document.
    """
    fresh = clients.open([server.target(room, member) for room in rooms], record=True)
    found = {room: _document(client) for room, client in zip(rooms, fresh, strict=True)}
    clients.drop(fresh)
    return found


def _document(client: Client) -> bytes:
    for _, message in messages(client):
        if message[:2] == bytes((protocol.SYNC, protocol.STEP_2)):
            return Decoder(message[2:]).buffer()
    raise NotDelivered("a fresh client got no document")


def last_numbers(update: bytes, names: Iterable[str]) -> dict[str, int]:
    """Return the number of each writer's last edit in a document, by element name; -1 for a missing element."""
    doc: Doc[Map[object]] = Doc()
    doc.apply_update(update)
    found = doc.get(edits.ELEMENTS, type=Map)
    numbers: dict[str, int] = {}
    for name in names:
        numbers[name] = -1
        if isinstance(element := found.get(name), Map) and isinstance(
            attributes := element.get("attrs"), Map
        ):
            numbers[name] = edits.number_of(attributes["x"])
    return numbers


def upload(
    clients: Clients,
    server: Server,
    room: str,
    updates: Iterable[bytes],
    *,
    one_by_one: bool = False,
) -> Client:
    """Send updates, wait until the server has taken them, and return the open connection.

    Our server has taken an update when the server reports the update as saved. Another server has taken the updates
    when the server sends nothing more. With `one_by_one`, each update waits until the updates before it are taken.
    Raises `NotDelivered` when a wait lasts longer than 180 s, or when the connection ends.
    """
    [client] = clients.open([server.target(room, 0, saved=True)], record=True)
    count = 0
    for update in updates:
        clients.send(client, client.target.frame(protocol.encode_update(update)))
        count += 1
        if one_by_one:
            _wait_until_taken(clients, server, client, count)
    _wait_until_taken(clients, server, client, count)
    return client


def _wait_until_taken(clients: Clients, server: Server, client: Client, count: int) -> None:
    until = time.monotonic() + _UPLOAD_SECONDS
    before = -1
    while (server.saves and saved_count(client) < count) or client.received_bytes != before:
        if time.monotonic() > until or client.closed is not None:
            end = (
                f"; closed with {client.closed} {client.reason}"
                if client.closed is not None
                else ""
            )
            raise NotDelivered(f"{saved_count(client)} of {count} updates were saved{end}")
        before = client.received_bytes
        clients.run(_QUIET_SECONDS)


def saved_count(client: Client) -> int:
    """Return the number of the client's messages that the server has reported as saved."""
    counts = [
        Decoder(message[1:]).uint()
        for _, message in messages(client)
        if message[0] == protocol.SAVED
    ]
    return counts[-1] if counts else 0
