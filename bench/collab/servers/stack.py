"""Our stack as `make run` starts it, with accounts and canvases for the load."""

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from bench.collab import processes
from bench.collab.frames import Target
from svgx_devstack import DevStack

T = TypeVar("T")

SETTINGS = {
    "RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_LOGIN_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_HEAVY_REQUESTS_PER_MINUTE": "1000000",
    "WEBSOCKET_MAX_CONNECTIONS": "10000",
    "LOG_LEVEL": "WARNING",
}
"""Settings that differ from the defaults. The limits of one connection and of one account's connections are kept."""

CLIENTS_OF_ACCOUNT = 50
"""Clients that share one account, as tabs and devices do. An account may have 100 connections by default."""

_TOKEN_SECONDS = 300.0
"""Seconds for which a token is used. It is valid for longer."""


@dataclass(slots=True)
class Account:
    """An account with its newest access token."""

    id: str
    username: str
    password: str
    token: str = ""
    renew_at: float = 0.0


class StackServer:
    """A running stack as a server under load.

    Its methods block, so they are called in a thread. `loop` is the loop that runs the stack.
    """

    name = "ours"
    saves = True

    def __init__(self, stack: DevStack, loop: asyncio.AbstractEventLoop) -> None:
        self.stack = stack
        self._loop = loop
        self._http = httpx.Client(base_url=stack.url, timeout=60.0)
        self._admin = Account("", stack.admin_username, stack.admin_password)
        self._accounts: list[Account] = []
        self._first_clients: dict[str, int] = {}
        self._client_count = 0
        self._run = secrets.token_hex(4)

    def close(self) -> None:
        """Close the connections of the HTTP client."""
        self._http.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the stack, such as the start of a replica, and return its result.

        Raises `TimeoutError` after 120 s.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def restart(self, name: str) -> None:
        """Stop a process of the stack, start it again, and wait until it is ready."""
        process = self.stack.process(name)
        self.wait(process.stop())
        self.wait(process.start())
        self.wait(process.wait_ready())

    def account(self, number: int) -> Account:
        """Return the account with this number. Create it, and all accounts with lower numbers, if it does not exist."""
        while len(self._accounts) <= number:
            name = f"bench-{self._run}-{len(self._accounts)}"
            password = secrets.token_urlsafe(16)
            body = {"username": name, "email": f"{name}@example.org", "password": password}
            created = self.request(
                self._admin, "POST", "/admin/users/", json=body | {"role": "editor"}
            )
            self._accounts.append(Account(created.json()["id"], name, password))
        return self._accounts[number]

    def token(self, account: Account) -> str:
        """Return a valid access token of an account."""
        if time.monotonic() > account.renew_at:
            body = {"username": account.username, "password": account.password}
            response = self._http.post("/auth/login", json=body)
            _check(response)
            account.token = response.json()["access_token"]
            account.renew_at = time.monotonic() + _TOKEN_SECONDS
        return account.token

    def request(self, account: Account, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. Raises `RuntimeError` for a response with an error status."""
        headers = {"Authorization": f"Bearer {self.token(account)}"}
        response = self._http.request(method, path, headers=headers, **options)
        _check(response)
        return response

    def rooms(self, count: int, members: int) -> list[str]:
        """Create canvases with the accounts of their clients as members."""
        canvases: list[str] = []
        for _ in range(count):
            first = self._client_count
            self._client_count += members
            # Include the account of client `first + members`: the fresh client that checks the room after the load.
            numbers = range(
                first // CLIENTS_OF_ACCOUNT, (first + members) // CLIENTS_OF_ACCOUNT + 1
            )
            owner, *others = [self.account(number) for number in numbers]
            canvas = self.create_canvas(owner)
            for other in others:
                self.share(owner, canvas, other, "editor")
            self._first_clients[canvas] = first
            canvases.append(canvas)
        return canvases

    def create_canvas(self, owner: Account) -> str:
        """Create an empty canvas and return its id."""
        created = self.request(owner, "POST", "/runtime/canvases/", json={"name": "Bench"})
        return str(created.json()["id"])

    def share(self, owner: Account, canvas: str, other: Account, role: str) -> None:
        """Give another account a role on a canvas."""
        path = f"/runtime/canvases/{canvas}/members/{other.id}"
        self.request(owner, "PUT", path, json={"role": role})

    def target(self, room: str, member: int, *, saved: bool = False) -> Target:
        """Return the address of a canvas for one of its clients. The clients use all gateways in turns."""
        account = self.account((self._first_clients[room] + member) // CLIENTS_OF_ACCOUNT)
        gateways = self._gateways()
        return self.target_of(account, room, gateways[member % len(gateways)], saved=saved)

    def target_of(
        self, account: Account, canvas: str, gateway: str = "gateway", *, saved: bool = False
    ) -> Target:
        """Return the address of a canvas for an account."""
        query = "?saved=1" if saved else ""
        headers = (("Authorization", f"Bearer {self.token(account)}"),)
        return Target(self.stack.port(gateway), f"/runtime/events/{canvas}{query}", headers)

    def as_account(self, account: Account) -> "AccountServer":
        """Return a view of this server in which all canvases and connections belong to one account."""
        return AccountServer(self, account)

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time of the four services, NATS, PostgreSQL and Valkey."""
        return processes.cpu_seconds(self._pids())

    def memory_bytes(self) -> int:
        """Return the memory of the four services, NATS, PostgreSQL and Valkey."""
        return processes.memory_bytes(self._pids().values())

    def saved_document(self, room: str) -> bytes | None:
        """Export the content of a canvas from PostgreSQL, as an update."""
        owner = self.account(self._first_clients[room] // CLIENTS_OF_ACCOUNT)
        return self.as_account(owner).saved_document(room)

    def _pids(self) -> dict[str, int]:
        return {each.name: each.pid for each in self.stack.processes if each.pid is not None}

    def _gateways(self) -> list[str]:
        return [each.name for each in self.stack.processes if each.name.startswith("gateway")]


@dataclass(frozen=True, slots=True)
class AccountServer:
    """A view of our server in which all canvases and connections belong to one account."""

    server: StackServer
    account: Account
    name = StackServer.name
    saves = True

    def rooms(self, count: int, members: int) -> list[str]:  # noqa: ARG002
        """Create canvases of the account."""
        return [self.server.create_canvas(self.account) for _ in range(count)]

    def target(self, room: str, member: int, *, saved: bool = False) -> Target:  # noqa: ARG002
        """Return the address of a canvas for the account."""
        return self.server.target_of(self.account, room, saved=saved)

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time of the stack."""
        return self.server.cpu_seconds()

    def memory_bytes(self) -> int:
        """Return the memory of the stack."""
        return self.server.memory_bytes()

    def saved_document(self, room: str) -> bytes | None:
        """Export the content of a canvas from PostgreSQL, as an update."""
        path = f"/runtime/canvases/{room}/export"
        response = self.server.request(self.account, "GET", path, params={"format": "yjs"})
        return response.content


@contextlib.asynccontextmanager
async def stack_server(settings: Mapping[str, str] = SETTINGS) -> AsyncIterator[StackServer]:
    """Run the stack in a temporary folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        async with DevStack(Path(home), settings=settings) as stack:
            running = StackServer(stack, asyncio.get_running_loop())
            try:
                yield running
            finally:
                running.close()


def _check(response: httpx.Response) -> None:
    """Raise `RuntimeError` with the problem document of a failed response, which names the cause."""
    if response.is_error:
        raise RuntimeError(f"{response.request.method} {response.url.path}: {response.text}")
