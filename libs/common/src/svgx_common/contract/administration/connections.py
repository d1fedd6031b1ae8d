"""The open WebSockets: models, the operation for admins, and the channel for requests to one gateway."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from svgx_common.contract.operation import (
    Channel,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    UserId,
)
from svgx_common.contract.policy import CanvasRole, Scope
from svgx_common.contract.state import CanvasId


class ListConnectionsRequest(RequestModel):
    """`canvas_id` selects the connections of one canvas, `user_id` those of one user.

    `limit` is the number of connections on a page; `cursor` is the `next` value of the page before.
    """

    canvas_id: CanvasId | None = None
    user_id: UserId | None = None
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class ConnectionInfo(ReplyModel):
    """An open WebSocket of a user on a canvas. `replica` is the gateway that has the connection.

    `session_id` is the id of the session, of the API key if `by_key` is true, or of the share link of a visitor.
    """

    id: str
    canvas_id: str
    user_id: str
    username: str
    role: CanvasRole
    session_id: str
    by_key: bool
    opened_at: datetime
    replica: str


class ConnectionPage(ReplyModel):
    """Connections of all gateways, the oldest first. `missing` names the gateways that did not answer."""

    items: list[ConnectionInfo]
    next: str | None = None
    missing: list[str]


class ConnectionQuery(BaseModel):
    """A request to one gateway for at most `limit` connections, the oldest first.

    The list begins after the last connection of the page before. That connection has the id `after_id`, and was opened
    at `after_at`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    canvas_id: Identifier | None = None
    user_id: Identifier | None = None
    after_at: datetime | None = None
    after_id: str = ""
    limit: Annotated[int, Field(ge=1, le=1000)]


class ConnectionList(ReplyModel):
    """A gateway's reply to a `ConnectionQuery`."""

    items: list[ConnectionInfo]


LIST_CONNECTIONS = Operation(
    subject="svgx.gateway.connection.list",
    summary="List the open WebSockets of all gateways: which users are on which canvases now",
    request=ListConnectionsRequest,
    reply=ConnectionPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/connections/"),
    repeatable=True,
)

GATEWAY_CONNECTIONS = Channel(
    subject="svgx.gateway.{replica_id}.connections",
    summary="A request to one gateway for its open WebSockets",
    publishers=("gateway",),
    subscribers=("gateway",),
    payload=ConnectionQuery,
    reply=ConnectionList,
)
