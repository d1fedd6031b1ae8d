"""A process that attacks the stack with one account: `python -m bench.collab.attacker` reads an `Order` from stdin."""

import itertools
import json
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.collab import edits
from bench.collab.frames import Target
from bench.collab.sockets import Client, Clients, Refused
from svgx_yjs import protocol
from svgx_yjs.lib0 import Encoder
from svgx_yjs.structure import EMPTY_STATE_VECTOR

_LARGE_MESSAGE = 31 * 1024 * 1024
_BODY_BYTES = 4 * 1024 * 1024
_RIVALS = 6_800
"""Items of one edit that have the same place in a list."""


@dataclass(frozen=True, slots=True)
class Order:
    """The name of an attack, its duration in seconds, the gateway's port, and the attacker's canvas and token."""

    attack: str
    seconds: float
    port: int
    canvas: str
    token: str

    @property
    def target(self) -> Target:
        """The address of the attacker's canvas."""
        headers = (("Authorization", f"Bearer {self.token}"),)
        return Target(self.port, f"/runtime/events/{self.canvas}", headers)


Steps = Iterator[None]
"""The steps of an attack. The first step opens the WebSockets that stay open. Most of the later steps are short."""


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack: its title, and its steps."""

    title: str
    steps: Callable[[Clients, Order], Steps]


def _new_client_ids(clients: Clients, order: Order) -> Steps:
    opened = clients.open([order.target] * 4)
    ids = itertools.count(random.randrange(2**31, 2**32))  # noqa: S311
    while True:
        yield
        for client in opened:
            update = next(edits.past_clients(next(ids), 1))
            _send_unless_blocked(clients, client, protocol.encode_update(update))
        clients.run(0.002)


def _whole_document(clients: Clients, order: Order) -> Steps:
    opened = clients.open([order.target] * 20)
    while True:
        yield
        for client in opened:
            _send_unless_blocked(clients, client, _document_request())
        clients.run(0.02)


def _many_joins(clients: Clients, order: Order) -> Steps:
    yield
    while True:
        try:
            opened = clients.open([order.target] * 80, at_once=80)
            clients.drop(opened)
        except Refused:
            clients.run(0.5)
        yield


def _slow_readers(clients: Clients, order: Order) -> Steps:
    opened = clients.open([order.target] * 15)
    while True:
        yield
        for client in opened:
            _send_unless_blocked(clients, client, _document_request())
        time.sleep(0.02)


def _unfinished_messages(clients: Clients, order: Order) -> Steps:
    opened = clients.open([order.target] * 50)
    header = bytes((0x82, 0xFF)) + _LARGE_MESSAGE.to_bytes(8) + bytes(4)
    for client in opened:
        clients.send(client, header)
    chunk = bytes(64 * 1024)
    left = dict.fromkeys(range(len(opened)), _LARGE_MESSAGE // len(chunk) - 1)
    while True:
        yield
        for number, client in enumerate(opened):
            if left[number] and not client.unsent and client.closed is None:
                left[number] -= 1
                clients.send(client, chunk)
        clients.run(0.001)


def _unfinished_bodies(_: Clients, order: Order) -> Steps:
    head = (
        f"PUT /runtime/canvases/{order.canvas}/svg HTTP/1.1\r\nHost: bench\r\n"
        f"Authorization: Bearer {order.token}\r\nContent-Type: image/svg+xml\r\n"
        f"Content-Length: {_BODY_BYTES}\r\n\r\n"
    ).encode()
    connections: list[socket.socket] = []
    yield
    for _number in range(60):
        connection = socket.create_connection(("127.0.0.1", order.port), timeout=0.5)
        connections.append(connection)
        try:
            connection.sendall(head + bytes(_BODY_BYTES - 1))
        except OSError:  # the server does not read the body
            pass
        yield
    while True:
        time.sleep(0.05)
        yield


def _rivals(clients: Clients, order: Order) -> Steps:
    [client] = clients.open([order.target])
    while True:
        yield
        first = random.randrange(2**31, 2**32)  # noqa: S311
        clients.send(
            client, client.target.frame(protocol.encode_update(edits.rivals(first, _RIVALS)))
        )
        clients.run(1.0)


ATTACKS = {
    "new-client-ids": Attack("each edit has a new Yjs client id", _new_client_ids),
    "whole-document": Attack("20 clients ask for 8 MB again and again", _whole_document),
    "joins": Attack("80 clients join an 8 MB canvas", _many_joins),
    "slow-readers": Attack("15 clients ask for 8 MB and do not read", _slow_readers),
    "unfinished-messages": Attack("50 unfinished messages of 31 MB", _unfinished_messages),
    "unfinished-bodies": Attack("60 unfinished request bodies of 4 MB", _unfinished_bodies),
    "rivals": Attack("edits of 130 KB that take seconds to integrate", _rivals),
}
"""All attacks by name."""


def _document_request() -> bytes:
    """Return the message that asks for the whole document."""
    step_1 = Encoder().uint(protocol.SYNC).uint(protocol.STEP_1).buffer(EMPTY_STATE_VECTOR)
    return step_1.finish()


def _send_unless_blocked(clients: Clients, client: Client, message: bytes) -> None:
    if not client.unsent:
        clients.send(client, client.target.frame(message))


def main() -> None:
    """Carry out the attack of the order. Print `attacking` when the attack begins."""
    order = Order(**json.load(sys.stdin))
    with Clients() as clients:
        steps = ATTACKS[order.attack].steps(clients, order)
        next(steps)
        sys.stdout.write("attacking\n")
        sys.stdout.flush()
        until = time.monotonic() + order.seconds
        while time.monotonic() < until:
            next(steps)


if __name__ == "__main__":
    main()
