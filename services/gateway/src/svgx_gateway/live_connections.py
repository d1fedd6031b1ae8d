"""The open WebSockets of all gateways. The gateway that receives an admin's request asks all other gateways."""

import asyncio
from collections.abc import Iterator
from datetime import datetime

from nats.aio.msg import Msg
from pydantic import ValidationError

from svgx_common.contract.administration.connections import (
    GATEWAY_CONNECTIONS,
    LIST_CONNECTIONS,
    ConnectionInfo,
    ConnectionList,
    ConnectionPage,
    ConnectionQuery,
    ListConnectionsRequest,
)
from svgx_common.contract.errors import BadRequest, SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.pages import Cursor, Listing
from svgx_gateway.replica_watch import Replica, ReplicaWatch
from svgx_gateway.websocket.live_canvases import LiveCanvases

ANSWER_SECONDS = 2.0
"""Time limit for another gateway's answer, in seconds. Beyond it, the page names the gateway as missing."""


class LiveConnections:
    """The connections of this gateway, and the handler that asks all gateways for theirs."""

    def __init__(self, bus: Bus, live_canvases: LiveCanvases, watch: ReplicaWatch) -> None:
        self._bus = bus
        self._live_canvases = live_canvases
        self._watch = watch

    def register(self, responder: Responder) -> None:
        """Register the handler."""
        responder.answer(LIST_CONNECTIONS, self.page)

    async def start(self) -> None:
        """Answer the queries of other gateways until the bus is closed."""
        subject = GATEWAY_CONNECTIONS.subject_of(replica_id=self._bus.replica_id)
        await self._bus.connection.subscribe(subject, cb=self._answer)

    async def page(self, request: ListConnectionsRequest, _: Call) -> ConnectionPage:
        """Return a page of the connections of all gateways, the oldest first.

        Raises `Invalid` for a cursor that is not the `next` of a page.
        """
        listing = Listing.of(LIST_CONNECTIONS, request)
        after = listing.decode(request.cursor)
        query = ConnectionQuery(
            canvas_id=request.canvas_id,
            user_id=request.user_id,
            after_at=None if after is None else after.at,
            after_id="" if after is None else after.id,
            limit=request.limit + 1,
        )
        await self._watch.ping_all()
        gateways = [each for each in self._watch.replicas if each.service == "gateway"]
        lists = await asyncio.gather(*(self._ask(gateway, query) for gateway in gateways))
        connections = sorted((item for items in lists for item in items or ()), key=_order)
        page, next_cursor = listing.page_of(
            connections, request.limit, lambda item: Cursor(item.opened_at, item.id)
        )
        missing = [
            gateway.id for gateway, items in zip(gateways, lists, strict=True) if items is None
        ]
        return ConnectionPage(items=list(page), next=next_cursor, missing=missing)

    async def _ask(self, gateway: Replica, query: ConnectionQuery) -> list[ConnectionInfo] | None:
        """Return a gateway's connections, or None without an answer."""
        if gateway.id == self._bus.replica_id:
            return self._matching(query)
        if gateway.silent:
            return None
        subject = GATEWAY_CONNECTIONS.subject_of(replica_id=gateway.id)
        content = query.model_dump_json().encode()
        try:
            answer = await self._bus.request(subject, content, timeout=ANSWER_SECONDS)
            return ConnectionList.model_validate_json(answer.content).items
        except (SvgxError, ValidationError):
            return None

    async def _answer(self, message: Msg) -> None:
        try:
            query = ConnectionQuery.model_validate_json(message.data)
        except ValidationError:
            await self._bus.refuse(message.reply, BadRequest("the query cannot be read"))
            return
        answer = ConnectionList(items=self._matching(query))
        await self._bus.respond(message.reply, answer.model_dump_json().encode())

    def _matching(self, query: ConnectionQuery) -> list[ConnectionInfo]:
        """Return the first connections of this gateway that the query selects."""
        connections = sorted(self._selected(query), key=_order)
        if query.after_at is not None:
            position = (query.after_at, query.after_id)
            connections = [each for each in connections if _order(each) > position]
        return connections[: query.limit]

    def _selected(self, query: ConnectionQuery) -> Iterator[ConnectionInfo]:
        for canvas_id, connection in self._live_canvases.connections():
            caller = connection.caller
            if query.canvas_id in (None, canvas_id) and query.user_id in (None, caller.user_id):
                yield ConnectionInfo(
                    id=connection.id,
                    canvas_id=canvas_id,
                    user_id=caller.user_id,
                    username=caller.username,
                    role=connection.role.role,
                    session_id=caller.session_id,
                    by_key=caller.by_key,
                    opened_at=connection.opened_at,
                    replica=self._bus.replica_id,
                )


def _order(item: ConnectionInfo) -> tuple[datetime, str]:
    return item.opened_at, item.id
