"""State replicas that run in this process with real servers, and a client that calls them over the bus."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg

from svgx_common.contract import state
from svgx_common.contract.auth import (
    FIND_ACCOUNTS,
    FindAccountsRequest,
    FoundAccount,
    FoundAccounts,
)
from svgx_common.contract.operation import Blob
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Committed, CommittedBatch, Content, Entry, EntryBatch
from svgx_common.contract.storage.links import CREATE_LINK, CreateLinkRequest, NewLink
from svgx_common.health import Health, Phase
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder
from svgx_common.messaging.wire import decode, encode
from svgx_common.runtime import Runtime
from svgx_devstack import DevStack
from svgx_state.app import build
from svgx_state.settings import StateSettings

Tables: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection to the service's tables."""


@asynccontextmanager
async def replica(backing: DevStack, **settings: Any) -> AsyncIterator[Health]:
    """Run a replica with these settings until the block ends.

    By default, the replica has one worker, because the start of a worker takes 0.2 s of processor time.
    """
    replica_id = secrets.token_hex(6)
    bus = await Bus.connect(backing.nats_url("state"), "state", replica_id)
    health = Health("state", replica_id, "0")
    servers = {"postgres_url": backing.postgres_url, "redis_url": backing.redis_url}
    checked = StateSettings.model_validate({**servers, "worker_count": 1, **settings})
    responder = Responder(bus, "0")
    runtime = Runtime(checked, bus, responder, health, replica_id, "0")
    try:
        async with build(runtime) as service:
            await responder.start()
            await bus.settle()
            health.phase = Phase.READY
            try:
                yield health
            finally:
                await responder.drain()
                assert service.drain is not None
                await service.drain()
    finally:
        await bus.close()


def user(role: Role = Role.EDITOR) -> Caller:
    """Return a new user as a caller."""
    name = secrets.token_hex(6)
    return Caller(f"user-{name}", name, role, f"session-{name}")


@asynccontextmanager
async def directory(backing: DevStack) -> AsyncIterator[dict[str, FoundAccount | None]]:
    """Answer in place of auth. By default, each account made by `user` exists, as an enabled editor.

    Yield a dictionary in which the test may set other answers by user id: an account, or None for no account.
    """
    accounts: dict[str, FoundAccount | None] = {}

    async def find(request: FindAccountsRequest, _: Call) -> FoundAccounts:
        found = [
            accounts.get(each, FoundAccount(id=each, role=Role.EDITOR, disabled=False))
            for each in request.user_ids
            if each in accounts or each.startswith("user-")
        ]
        return FoundAccounts(items=[each for each in found if each is not None])

    bus = await Bus.connect(backing.nats_url("auth"), "auth", secrets.token_hex(6))
    responder = Responder(bus, "0")
    responder.answer(FIND_ACCOUNTS, find)
    try:
        await responder.join()
        await bus.settle()
        yield accounts
        await responder.drain()
    finally:
        await bus.close()


@dataclass(frozen=True, slots=True)
class Client:
    """A client that calls the operations as the gateway and collab do. `me` is the default caller.

    `accounts` is the dictionary of `directory`.
    """

    bus: Bus
    me: Caller
    accounts: dict[str, FoundAccount | None] = field(default_factory=dict)

    async def create(self, name: str = "canvas", caller: Caller | None = None) -> str:
        """Create a canvas, and return its id."""
        request = state.CreateCanvasRequest(name=name)
        canvas = await self.bus.ask(state.CREATE_CANVAS, request, caller=caller or self.me)
        return canvas.id

    async def get(self, canvas_id: str, caller: Caller | None = None) -> state.Canvas:
        """Return a canvas."""
        request = state.CanvasRequest(canvas_id=canvas_id)
        return await self.bus.ask(state.GET_CANVAS, request, caller=caller or self.me)

    async def delete(self, canvas_id: str) -> None:
        """Delete a canvas."""
        request = state.CanvasRequest(canvas_id=canvas_id)
        await self.bus.ask(state.DELETE_CANVAS, request, caller=self.me)

    async def page(
        self, caller: Caller | None = None, **query: str | int | None
    ) -> state.CanvasPage:
        """Return a page of the list of canvases."""
        request = state.ListCanvasesRequest.model_validate(query)
        return await self.bus.ask(state.LIST_CANVASES, request, caller=caller or self.me)

    async def access(self, canvas_id: str, caller: Caller | None = None) -> CanvasRole:
        """Return the caller's role on a canvas."""
        request = state.CanvasRequest(canvas_id=canvas_id)
        reply = await self.bus.ask(state.CANVAS_ACCESS, request, caller=caller or self.me)
        return reply.role

    async def member(self, canvas_id: str, user_id: str) -> CanvasRole:
        """Return a member's role."""
        request = state.MemberRequest(canvas_id=canvas_id, user_id=user_id)
        return (await self.bus.ask(state.GET_MEMBER, request, caller=self.me)).role

    async def set_member(self, canvas_id: str, user_id: str, role: CanvasRole) -> state.Member:
        """Give a user a role on a canvas."""
        request = state.SetMemberRequest(canvas_id=canvas_id, user_id=user_id, role=role)
        return await self.bus.ask(state.SET_MEMBER, request, caller=self.me)

    async def remove_member(self, canvas_id: str, user_id: str) -> None:
        """Remove a member."""
        request = state.MemberRequest(canvas_id=canvas_id, user_id=user_id)
        await self.bus.ask(state.REMOVE_MEMBER, request, caller=self.me)

    async def link(self, canvas_id: str, caller: Caller | None = None, **fields: object) -> NewLink:
        """Create a share link, by default for viewers."""
        request = CreateLinkRequest.model_validate(
            {"canvas_id": canvas_id, "role": "viewer", **fields}
        )
        return await self.bus.ask(CREATE_LINK, request, caller=caller or self.me)

    async def append(self, *entries: Entry) -> list[Committed]:
        """Commit entries, and return their results."""
        request = state.AppendRequest(content=encode(EntryBatch(tuple(entries))))
        reply = await self.bus.ask(state.JOURNAL_APPEND, request)
        return list(decode(CommittedBatch, reply.content).results)

    async def load(self, canvas_id: str, after: int = 0) -> Content:
        """Return the content committed after a revision."""
        request = state.LoadRequest(canvas_id=canvas_id, after=after)
        return decode(Content, (await self.bus.ask(state.JOURNAL_LOAD, request)).content)

    async def export(self, canvas_id: str, **query: str | float) -> Blob:
        """Export a canvas."""
        request = state.ExportRequest.model_validate({"canvas_id": canvas_id, **query})
        return await self.bus.ask(state.EXPORT, request, caller=self.me)
