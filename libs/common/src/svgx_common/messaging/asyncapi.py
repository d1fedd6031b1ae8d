"""The AsyncAPI 3.0 document of the bus and of the WebSockets. `make docs` writes it.

The operations, channels, models and close codes come from the contract. This module has the frames and the texts.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from svgx_common.contract import CHANNELS, OPERATIONS
from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import EVENTS_PATH, HOCUSPOCUS_PATH
from svgx_common.contract.errors import ErrorBody
from svgx_common.contract.live.json_messages import (
    CLIENT_MESSAGES,
    JSON_EVENTS_PATH,
    SERVER_MESSAGES,
)
from svgx_common.contract.operation import Channel, Empty, Operation, RawRequest, ReplyModel
from svgx_common.contract.transport import queue_group
from svgx_common.messaging import headers

_SCHEMA = "#/components/schemas/{model}"
_BINARY = "application/octet-stream"

INTRODUCTION = """\
Services talk over NATS; clients edit canvases over a WebSocket. The answer to a request is its reply model or bytes,
or an `ErrorBody` with the header `Svgx-Error`. A receiver pulls a body over 512 KiB from its sender, on the subject in
the header `Svgx-Body`. Each service may publish and subscribe to its declared subjects only
(`svgx_common.contract.permissions`).
"""

HEADERS = {
    headers.HEADER_DEADLINE: "Unix time in milliseconds at which the caller stops waiting.",
    headers.HEADER_CALLER: "The caller as JSON; only the gateway sets it.",
    headers.HEADER_CLIENT: "The client's address and program as JSON; only the gateway sets it.",
    headers.HEADER_PARAMS: "The fields, as JSON, of a request with a body that is not JSON.",
    headers.HEADER_BODY: (
        "The subject from which the receiver pulls a large body, then a space and its size in bytes."
    ),
    headers.HEADER_GATEWAY: "In a request for a sync, the id of the gateway that gets the canvas's broadcasts.",
    headers.HEADER_ELEMENTS: "In a request for a sync, `1` if the gateway needs the element events of the canvas.",
    headers.HEADER_PROBE: "Marks a probe. Its receiver answers that it is alive, and does nothing else.",
    headers.HEADER_ERROR: "In an answer, the error's code; the payload is an ErrorBody.",
    headers.HEADER_MEDIA_TYPE: "In an answer, the media type of its body.",
    headers.HEADER_FILENAME: "In an answer, the file name of its body, as percent-encoded UTF-8.",
    headers.HEADER_LEFT_OUT: "In an answer, the stored data that its body lacks.",
    "traceparent": "W3C Trace Context.",
}


def _close_codes() -> str:
    return "; ".join(f"{code.value} {code.summary}" for code in Close)


WEBSOCKET = f"""\
The WebSocket speaks y-protocols, byte for byte like npm y-websocket's WebsocketProvider with the server URL
`…/runtime/events` and the canvas id as the room name. The client sends its access token or API key as a subprotocol
(`svgx, bearer.<token>`; the server picks `svgx`), in a header, or as `token` in the query. If there are several, the
server uses the first in this order. The token of a share link comes in the same places, and also in `X-Share-Link`, or
as `link` in the query. With a share link and an account's token, the higher of the two roles applies. With `saved=1`
the server reports how many of the connection's document messages are committed. With `renew=1` it reports when the
client should send a fresh access token. With `limits=1` the server's first message states the size limit of a message.
With `quota=1` the server reports when a quota is nearly used up. It also keeps the connection open when it refuses
edits beyond a quota, and asks for these edits when the quota allows them again. The server reads more slowly from a
client that sends too much.
Before the upgrade the server answers 400 to an invalid handshake, 404 to an unknown path, 403 to pages of foreign
origins, 429 beyond the limit of handshakes, and 503 while the gateway is full, overloaded, starting or stopping.
Close codes: {_close_codes()}. Codes from 4400 to 4499 are final: the condition never passes by itself. After any other
code except 1000, the client should reconnect.
"""

HOCUSPOCUS = """\
The WebSocket speaks the protocol of npm @hocuspocus/provider 4: each message except a ping or a pong begins with the
canvas id as a string, and one socket carries several canvases. The first message for a canvas has an access token, an
API key or the token of a share link. A sync status reports whether a document message is saved or refused. A refusal of
a canvas has a reason that begins with a close code from 4400 to 4499. A condition with any other close code except 1000
closes the socket. With `quota=1` the server sends the most used quota in a stateless message. The HTTP statuses before
the upgrade are those of `/runtime/events/{canvas_id}`. A client address with too many sockets that have no canvas also
gets 503.
"""

JSON_SOCKET = """\
The WebSocket of JSON clients. Each message is a JSON object in a text frame, and `type` names its kind. The server
leaves out fields without a value, and sends none of them as null. The client's first message is `handshake`. The server
handles the messages of a client in their order, and answers each of them except `user_activity` and `token`. A
malformed message ends the connection with 4400, a too large message with 4413, and a refused handshake or token with
the code of the refusal. Any other message without effect gets `error` or `lock_denied`. The tokens, the HTTP statuses
before the upgrade and the close codes are those of `/runtime/events/{canvas_id}`.
After `handshake_ack` and `reload`, the client loads the JSON export over HTTP, which is a `CanvasContent`, and carries
out the operations of all `edit_operation` since the handshake or the `reload`. Siblings are sorted by `order`, and then
by `id`, both by UTF-16 code units. An operation has the parent that is stored, so the client applies the rules of the
export: of a cycle of parents, the element with the smallest id is a child of the root, and an element without an
existing parent, or with a text as its parent, is not shown.
"""

# For each frame: the varuints with which it begins, its sender, and its content.
FRAMES: dict[str, tuple[tuple[int, ...], str, str]] = {
    "SyncStep1": ((0, 0), "both", "A state vector: a request for the missing updates."),
    "SyncStep2": ((0, 1), "both", "The missing updates as one Yjs update."),
    "Update": ((0, 2), "both", "A Yjs update."),
    "Awareness": ((1,), "both", "Awareness states."),
    "QueryAwareness": ((3,), "client", "A request for all awareness states."),
    "Saved": ((100,), "server", "A varuint: the number of committed document messages."),
    "TokenLifetime": (
        (101,),
        "server",
        "A varuint: seconds until the connection's access token expires. The message asks for a fresh token.",
    ),
    "Limits": ((102,), "server", "A varuint: the largest number of bytes of one message."),
    "Quota": (
        (103,),
        "server",
        "A string: the client's most used quota as JSON (`Use`), or `{}` when all are below 80 %.",
    ),
    "Token": ((101,), "client", "A string: a fresh access token of the same account."),
}


# For each message: the varuints after the canvas id, its sender, and its content.
HOCUSPOCUS_FRAMES: dict[str, tuple[tuple[int, ...], str, str]] = {
    **{name: FRAMES[name] for name in ("SyncStep1", "SyncStep2", "Update", "Awareness")},
    "QueryAwareness": FRAMES["QueryAwareness"],
    "Token": ((2, 0), "client", "A string: the token, then a string: the provider's version."),
    "TokenRequest": ((2, 0), "server", "Asks for a fresh token, before the present one expires."),
    "PermissionDenied": ((2, 1), "server", "A string: why the canvas is refused."),
    "Authenticated": ((2, 2), "server", "A string: the scope `read-write` or `readonly`."),
    "Stateless": ((5,), "both", "A string. A client's message changes nothing."),
    "Close": ((7,), "both", "Closes the canvas on this socket. Only the server gives a reason."),
    "SyncStatus": ((8,), "server", "1 when a document message is saved, 0 when it is refused."),
    "Ping": ((9,), "client", "Asks for a pong. It has no canvas id."),
    "Pong": ((10,), "both", "The answer to a ping. It has no canvas id."),
}


def document() -> dict[str, Any]:
    """Return the whole document."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for operation in OPERATIONS:
        channels[operation.name] = _operation_channel(operation)
        operations[operation.name] = {
            "title": operation.summary,
            "tags": [{"name": operation.service}],
            **_exchange(operation.name, "request"),
        }
    for channel in CHANNELS:
        channels[channel.name] = _channel(channel)
        if channel.reply is not None:
            operations[channel.name] = {
                "title": channel.summary,
                "tags": [{"name": service} for service in channel.subscribers],
                **_exchange(channel.name, _message_name(channel)),
            }
    channels["websocket"] = _websocket()
    channels["hocuspocus"] = _hocuspocus()
    channels["json"] = _json_socket()
    for socket, frames in (("websocket", FRAMES), ("hocuspocus", HOCUSPOCUS_FRAMES)):
        for action, sender in (("receive", "client"), ("send", "server")):
            names = [name for name, (_, by, _) in frames.items() if by in ("both", sender)]
            operations[f"{socket}.{action}"] = _socket_operation(socket, action, names)
    for action, models in (("receive", CLIENT_MESSAGES.values()), ("send", SERVER_MESSAGES)):
        names = [model.__name__ for model in models]
        operations[f"json.{action}"] = _socket_operation("json", action, names)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "SVGX Engine", "version": "1", "description": INTRODUCTION},
        "defaultContentType": "application/json",
        "servers": {
            "bus": {"host": "nats:4222", "protocol": "nats"},
            "gateway": {"host": "localhost:8000", "protocol": "ws"},
        },
        "channels": channels,
        "operations": operations,
        "components": {"schemas": _schemas()},
    }


def _socket_operation(socket: str, action: str, names: Iterable[str]) -> dict[str, Any]:
    """Return the operation with the messages that a WebSocket receives or sends."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{socket}"},
        "messages": [{"$ref": f"#/channels/{socket}/messages/{name}"} for name in names],
    }


def _exchange(channel: str, request: str) -> dict[str, Any]:
    """Return the fields of an operation: its request, which is the message `request`, and its reply or error."""
    messages = f"#/channels/{channel}/messages"
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"{messages}/{request}"}],
        "reply": {
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"{messages}/{each}"} for each in ("reply", "error")],
        },
    }


class _AsyncApiSchema(GenerateJsonSchema):
    """Generates schemas of AsyncAPI. Its discriminator is the name of a property, and not an object as in OpenAPI."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Return the schema of a union."""
        union = super().tagged_union_schema(schema)
        if "discriminator" in union:
            union["discriminator"] = union["discriminator"]["propertyName"]
        return union


def _schemas() -> dict[str, Any]:
    models: set[type[BaseModel]] = {ErrorBody, *CLIENT_MESSAGES.values(), *SERVER_MESSAGES}
    for channel in CHANNELS:
        types = (channel.payload, channel.reply)
        models |= {each for each in types if each is not None and issubclass(each, BaseModel)}
    for operation in OPERATIONS:
        models.add(operation.request)
        if issubclass(operation.reply, ReplyModel):
            models.add(operation.reply)
        if operation.json_reply is not None:
            models.add(operation.json_reply)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered],
        ref_template=_SCHEMA,
        schema_generator=_AsyncApiSchema,
    )
    headers = {name: {"type": "string", "description": text} for name, text in HEADERS.items()}
    schemas: dict[str, Any] = definitions["$defs"]
    return {**schemas, "Headers": {"type": "object", "properties": headers}}


def _message(content: dict[str, Any]) -> dict[str, Any]:
    """Return a message with this content and the headers of the bus."""
    return {**content, "headers": {"$ref": _SCHEMA.format(model="Headers")}}


def _operation_channel(operation: Operation[Any, Any]) -> dict[str, Any]:
    reply: dict[str, Any]
    if issubclass(operation.reply, ReplyModel):
        reply = {"payload": {"$ref": _SCHEMA.format(model=operation.reply.__name__)}}
        if operation.reply is Empty:
            reply = {"payload": {"type": "object", "maxProperties": 0}}
    else:
        reply = {"contentType": _BINARY, "payload": {"type": "string", "format": "binary"}}
    request: dict[str, Any] = {
        "payload": {"$ref": _SCHEMA.format(model=operation.request.__name__)}
    }
    if issubclass(operation.request, RawRequest):
        request = {
            "contentType": _BINARY,
            "payload": {"type": "string", "format": "binary"},
            "description": f"The fields of {operation.request.__name__} travel in `Svgx-Params`.",
        }
    return {
        "address": operation.subject,
        "title": operation.summary,
        "servers": [{"$ref": "#/servers/bus"}],
        "description": f"Callers: {', '.join(operation.callers)}.",
        "bindings": {"nats": {"queue": queue_group(operation.service)}},
        "messages": {
            "request": _message(request),
            "reply": _message(reply),
            "error": _message(_body(ErrorBody)),
        },
    }


def _channel(channel: Channel[Any]) -> dict[str, Any]:
    messages = {_message_name(channel): _message(_body(channel.payload))}
    if channel.reply is not None:
        messages["reply"] = _message(_body(channel.reply))
        messages["error"] = _message(_body(ErrorBody))
    ends = (("From", channel.publishers), ("To", channel.subscribers))
    return {
        "address": channel.subject,
        "title": channel.summary,
        "description": " ".join(f"{end}: {', '.join(services)}." for end, services in ends),
        "servers": [{"$ref": "#/servers/bus"}],
        "parameters": {name: {} for name in channel.parameters},
        "messages": messages,
    }


def _message_name(channel: Channel[Any]) -> str:
    return channel.name.rpartition(".")[2]


def _body(payload: type[Any]) -> dict[str, Any]:
    """Return the content of a message on a channel: JSON for a model, and bytes for a dataclass."""
    if issubclass(payload, BaseModel):
        return {"payload": {"$ref": _SCHEMA.format(model=payload.__name__)}}
    return {"contentType": _BINARY, "title": payload.__name__}


def _websocket() -> dict[str, Any]:
    query: dict[str, dict[str, str]] = {
        "token": {"type": "string"},
        "link": {"type": "string"},
        **{name: {"const": "1"} for name in ("saved", "renew", "limits", "quota")},
    }
    headers = {
        "Sec-WebSocket-Protocol": "`svgx, bearer.<token>`: the only header with a token that a page can set.",
        "Authorization": "`Bearer <token>`.",
        "X-API-Key": "An API key.",
        "X-Share-Link": "The token of a share link.",
    }
    return {
        "address": EVENTS_PATH,
        "description": WEBSOCKET,
        "servers": [{"$ref": "#/servers/gateway"}],
        "parameters": {"canvas_id": {}},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": query},
                "headers": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string", "description": text}
                        for name, text in headers.items()
                    },
                },
            }
        },
        "messages": _messages(FRAMES),
    }


def _hocuspocus() -> dict[str, Any]:
    query = {name: {"type": "string"} for name in ("token", "link")} | {"quota": {"const": "1"}}
    return {
        "address": HOCUSPOCUS_PATH,
        "description": HOCUSPOCUS,
        "servers": [{"$ref": "#/servers/gateway"}],
        "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": query}}},
        "messages": _messages(HOCUSPOCUS_FRAMES),
    }


def _json_socket() -> dict[str, Any]:
    names = ("canvas_id", "session_id", "token", "link")
    query: dict[str, Any] = {name: {"type": "string"} for name in names}
    query["session_id"]["description"] = "A text of the client. Its first 128 characters are used."
    return {
        "address": JSON_EVENTS_PATH,
        "description": JSON_SOCKET,
        "servers": [{"$ref": "#/servers/gateway"}],
        "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": query}}},
        "messages": {
            model.__name__: {"payload": {"$ref": _SCHEMA.format(model=model.__name__)}}
            for model in (*CLIENT_MESSAGES.values(), *SERVER_MESSAGES)
        },
    }


def _messages(frames: dict[str, tuple[tuple[int, ...], str, str]]) -> dict[str, Any]:
    return {
        name: {
            "contentType": _BINARY,
            "summary": summary,
            "description": f"The varuints of its type: {' '.join(map(str, first))}.",
        }
        for name, (first, _, summary) in frames.items()
    }


def text() -> str:
    """Return the document as YAML."""
    head = "# Written by `make docs`. Change the contract or svgx_common/messaging/asyncapi.py, not this file.\n"
    return head + yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
