"""The delay of other accounts while one account attacks, compared with an undisturbed stack.

The stack has the default limits. The attacker is a process of its own, and its connections belong to one account.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.collab.attacker import ATTACKS, Order
from bench.collab.delays import quantile
from bench.collab.documents import upload
from bench.collab.edits import elements
from bench.collab.load import Figures, Load, apply, connect, wait_until_idle
from bench.collab.servers import Server
from bench.collab.servers.stack import Account, StackServer
from bench.collab.sockets import Client, Clients

__all__ = ["ATTACKS", "under"]

_VICTIMS = 4
"""Accounts that send the GET requests in turns, because one account may send only 100 a minute by default."""

_GET_INTERVAL_SECONDS, _GET_TIMEOUT = 0.1, 5.0
_SECONDS, _QUICK_SECONDS = 10.0, 3.0
_ROUNDS = 3
"""The number of rounds, each with one attack. One round is not enough, because a p95 of some seconds varies a lot."""

_LIFETIME = 60.0
"""Seconds after which an attacker ends by itself. A measurement usually ends earlier, and kills it."""

_IDLE_SECONDS = 10.0
"""The longest wait in seconds for the server to finish the work of the upload or of the previous attack."""

_ELEMENTS, _QUICK_ELEMENTS = 42_000, 5_200
"""Elements of the attackers' canvas: 8 MB, or 1 MB in a quick run."""

_EDITING = Load(1, 1, 1, rate=20.0)
"""The load of the other accounts: one editor writes, and another one reads."""


@dataclass(frozen=True, slots=True)
class _Editors:
    """The connected clients that edit during an attack. They do not belong to the attacker."""

    clients: Clients
    opened: Sequence[Client]


@dataclass(frozen=True, slots=True)
class _Delays:
    """The 95th percentiles of an edit and of a GET, in ms."""

    edit: float
    get: float


def under(name: str) -> Callable[[Server, bool], Figures]:
    """Return the function that measures the delays of other accounts before and during the named attack.

    The function repeats both measurements, each time with another attacker, and returns the medians.
    """

    def run(server: Server, quick: bool) -> Figures:
        assert isinstance(server, StackServer)
        seconds, rounds = (_QUICK_SECONDS, 1) if quick else (_SECONDS, _ROUNDS)
        orders = _orders(server, name, rounds, _QUICK_ELEMENTS if quick else _ELEMENTS)
        accounts = [server.account(number) for number in range(_VICTIMS)]
        canvases = [(account, server.create_canvas(account)) for account in accounts]
        [room] = server.rooms(1, 2)
        with Clients() as clients:
            editors = _Editors(clients, connect(clients, server, _EDITING, [room]))
            _delays(server, editors, canvases, seconds / 2)  # warm up
            found = [_round(server, editors, canvases, order, seconds) for order in orders]
        return {figure: statistics.median(each[figure] for each in found) for figure in found[0]}

    return run


def _orders(server: StackServer, name: str, rounds: int, size: int) -> list[Order]:
    """Return an order for each round. Each attacker has its own account. All attack one canvas of `size` elements."""
    attackers = [server.account(_VICTIMS + number) for number in range(rounds)]
    owner, *others = attackers
    canvas = server.create_canvas(owner)
    for other in others:
        server.share(owner, canvas, other, "editor")
    with Clients() as clients:
        upload(clients, server.as_account(owner), canvas, elements(7, size))
    return [
        Order(name, _LIFETIME, server.stack.port("gateway"), canvas, server.token(attacker))
        for attacker in attackers
    ]


def _round(
    server: StackServer,
    editors: _Editors,
    canvases: list[tuple[Account, str]],
    order: Order,
    seconds: float,
) -> dict[str, float]:
    """Measure the other accounts for some seconds before an attack, and for `seconds` during the attack."""
    wait_until_idle(editors.clients, server, _IDLE_SECONDS)
    quiet = _delays(server, editors, canvases, seconds / 2)
    memory_before = server.memory_bytes()
    with _attack(order):
        attacked = _delays(server, editors, canvases, seconds)
        growth = server.memory_bytes() - memory_before
    return {
        "edit_ratio": attacked.edit / quiet.edit,
        "get_ratio": attacked.get / quiet.get,
        "p95": attacked.edit,
        "get_p95": attacked.get,
        "quiet_p95": quiet.edit,
        "quiet_get_p95": quiet.get,
        "mb_grown": growth / 1e6,
    }


@contextlib.contextmanager
def _attack(order: Order) -> Iterator[None]:
    """Start the attacker, enter the block when the attack begins, and kill the attacker at the end of the block.

    Raises `RuntimeError` when the attacker cannot connect, or fails during the block.
    """
    command = [sys.executable, "-m", "bench.collab.attacker"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(asdict(order)))
        child.stdin.close()
        if child.stdout.readline() != "attacking\n":
            raise RuntimeError("the attacker could not connect")
        yield
        if child.poll():
            raise RuntimeError("the attacker has failed")
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _delays(
    server: StackServer, editors: _Editors, canvases: list[tuple[Account, str]], seconds: float
) -> _Delays:
    """Measure edits between two clients, and GET requests at the same time, for `seconds`."""
    stop = threading.Event()
    times: list[float] = []
    requests = threading.Thread(target=_get, args=(server, canvases, stop, times))
    requests.start()
    try:
        found, _ = apply(editors.clients, server, _EDITING.lasting(seconds), editors.opened)
    finally:
        stop.set()
        requests.join()
    return _Delays(found["p95"], quantile(sorted(times), 0.95))


def _get(
    server: StackServer,
    canvases: list[tuple[Account, str]],
    stop: threading.Event,
    times: list[float],
) -> None:
    """Read the accounts' canvases in turns until `stop` is set, and add each request's time in ms to `times`."""
    turn = 0
    while not stop.is_set():
        account, canvas = canvases[turn % len(canvases)]
        turn += 1
        start = time.monotonic()
        # A refused request counts with the time until its refusal.
        with contextlib.suppress(Exception):
            server.request(account, "GET", f"/runtime/canvases/{canvas}", timeout=_GET_TIMEOUT)
        times.append((time.monotonic() - start) * 1000)
        stop.wait(max(0.0, _GET_INTERVAL_SECONDS - (time.monotonic() - start)))
