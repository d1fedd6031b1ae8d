"""The AsyncAPI 3.0 document of the bus and of the WebSocket, read from the contract. `make docs` writes it."""

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from svgx_common.contract import OPERATIONS, subjects
from svgx_common.contract.errors import ErrorBody
from svgx_common.contract.operation import Empty, Operation, RawRequest, ReplyModel
from svgx_common.contract.ratelimits import RateLimits
from svgx_common.contract.revocations import RevocationList
from svgx_common.messaging import bus

_SCHEMA = "#/components/schemas/{model}"
_BINARY = "application/octet-stream"

INTRODUCTION = """\
Services talk over NATS; clients draw over a WebSocket. A request's answer is its model, or an `ErrorBody` with the
header `Svgx-Error`. Bodies over 512 KiB are pulled from their sender under the subject in the header `Svgx-Body`. Each
service may publish and subscribe to its own subjects only (`svgx_common.contract.subjects`).
"""

HEADERS = {
    bus.HEADER_DEADLINE: "Unix time in milliseconds after which nobody waits for the answer.",
    bus.HEADER_CALLER: "Who calls: JSON, made by the gateway only.",
    bus.HEADER_CLIENT: "From where: JSON, made by the gateway only.",
    bus.HEADER_PARAMS: "The JSON of a request whose payload is its raw content.",
    bus.HEADER_BODY: "The subject under which a large body is pulled.",
    bus.HEADER_ERROR: "In an answer: the error's code; the payload is an ErrorBody.",
    "traceparent": "W3C Trace Context.",
}

_CANVAS_CHANNELS: dict[subjects.CanvasChannel, tuple[str, str]] = {
    "edit": (_BINARY, "A batch of Yjs updates; answered by the holder once they are committed."),
    "sync": (_BINARY, "A Yjs state vector; the holder answers with what it lacks."),
    "awareness": (_BINARY, "Awareness states, to the holder."),
    "update": (
        _BINARY,
        "The holder's broadcast: what changed, with its epoch and sequence number.",
    ),
    "presence": (_BINARY, "The holder's broadcast: who is there, and where."),
    "access": ("application/json", "State's broadcast: roles on the canvas changed."),
}

WEBSOCKET = """\
y-protocols, byte for byte what npm y-websocket's WebsocketProvider speaks with the server URL `…/runtime/events` and
the canvas id as its room. The access token or API key comes as one of the subprotocols (`svgx, bearer.<token>`; the
server picks `svgx`), in a header, or as `token` in the query; the first of these counts. With `saved=1` the server says
how many of the connection's document messages are committed, and with `renew=1` when it is time for a fresh access
token. Close codes: 4400 bad message, 4401 token missing, expired or revoked, 4403 not allowed, 4404 no such canvas,
4408 nothing said in time, 4429 too many connections, messages or bytes, 1009 too large, 1011 our fault, 1012 restarting
(come back at once), 1013 overloaded (come back later). Before the upgrade: 403 for pages of foreign origins, 503 while
a gateway is full, overloaded, starting or stopping (try again).
"""

# Name: (first bytes as varuints, who sends it, what it is).
FRAMES: dict[str, tuple[tuple[int, ...], str, str]] = {
    "SyncStep1": ((0, 0), "both", "A state vector: send me what I lack."),
    "SyncStep2": ((0, 1), "both", "What the other lacked, as one Yjs update."),
    "Update": ((0, 2), "both", "A Yjs update."),
    "Awareness": ((1,), "both", "Awareness states."),
    "QueryAwareness": ((3,), "client", "Send me everybody's awareness."),
    "Saved": ((100,), "server", "A varuint: how many document messages are committed."),
    "TokenLasts": (
        (101,),
        "server",
        "A varuint: seconds until the connection's access token ends.",
    ),
    "Token": ((101,), "client", "A string: a fresh access token of the same account."),
}


def document() -> dict[str, Any]:
    """All of it."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for operation in OPERATIONS:
        channels[operation.name] = _channel(operation)
        operations[operation.name] = {
            "action": "receive",
            "title": operation.summary,
            "tags": [{"name": operation.service}],
            "channel": {"$ref": f"#/channels/{operation.name}"},
            "messages": [{"$ref": f"#/channels/{operation.name}/messages/request"}],
            "reply": {
                "channel": {"$ref": f"#/channels/{operation.name}"},
                "messages": [
                    {"$ref": f"#/channels/{operation.name}/messages/{each}"}
                    for each in ("reply", "error")
                ],
            },
        }
    channels |= _broadcasts()
    channels["websocket"] = _websocket()
    for action, sender in (("receive", "client"), ("send", "server")):
        operations[f"websocket.{action}"] = {
            "action": action,
            "channel": {"$ref": "#/channels/websocket"},
            "messages": [
                {"$ref": f"#/channels/websocket/messages/{name}"}
                for name, (_, by, _) in FRAMES.items()
                if by in ("both", sender)
            ],
        }
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


def _schemas() -> dict[str, Any]:
    models: set[type[BaseModel]] = {ErrorBody, RateLimits, RevocationList}
    for operation in OPERATIONS:
        models.add(operation.request)
        if issubclass(operation.reply, ReplyModel):
            models.add(operation.reply)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_SCHEMA
    )
    headers = {name: {"type": "string", "description": text} for name, text in HEADERS.items()}
    found: dict[str, Any] = definitions["$defs"]
    return {**found, "Headers": {"type": "object", "properties": headers}}


def _channel(operation: Operation[Any, Any]) -> dict[str, Any]:
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
    headers = {"headers": {"$ref": _SCHEMA.format(model="Headers")}}
    return {
        "address": operation.subject,
        "title": operation.summary,
        "servers": [{"$ref": "#/servers/bus"}],
        "bindings": {"nats": {"queue": f"svgx-{operation.service}"}},
        "messages": {
            "request": request | headers,
            "reply": reply,
            "error": {"payload": {"$ref": _SCHEMA.format(model="ErrorBody")}},
        },
    }


def _broadcasts() -> dict[str, Any]:
    servers = {"servers": [{"$ref": "#/servers/bus"}]}
    canvases = {
        f"canvas.{channel}": {
            "address": subjects.canvas("{canvas_id}", channel),
            "description": description,
            "parameters": {"canvas_id": {}},
            "messages": {channel: {"contentType": media_type}},
            **servers,
        }
        for channel, (media_type, description) in _CANVAS_CHANNELS.items()
    }
    return canvases | {
        "state.rate_limits.changed": {
            "address": subjects.RATE_LIMITS_CHANGED,
            "description": "State's broadcast: the rate limits that hold from now on.",
            "messages": {"changed": {"payload": {"$ref": _SCHEMA.format(model="RateLimits")}}},
            **servers,
        },
        "auth.revoked": {
            "address": subjects.REVOKED,
            "description": "Auth's broadcast: sessions, API keys and tokens that count no more.",
            "messages": {"revoked": {"payload": {"$ref": _SCHEMA.format(model="RevocationList")}}},
            **servers,
        },
    }


def _websocket() -> dict[str, Any]:
    query = {"token": {"type": "string"}, "saved": {"const": "1"}, "renew": {"const": "1"}}
    headers = {
        "Sec-WebSocket-Protocol": "`svgx, bearer.<token>`, from pages, which can set no other.",
        "Authorization": "`Bearer <token>`.",
        "X-API-Key": "An API key.",
    }
    return {
        "address": "/runtime/events/{canvas_id}",
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
        "messages": {
            name: {
                "contentType": _BINARY,
                "summary": summary,
                "description": f"Begins with {' '.join(map(str, first))}.",
            }
            for name, (first, _, summary) in FRAMES.items()
        },
    }


def text() -> str:
    """The document as YAML."""
    head = "# Made by `make docs` from the contract: change that, not this.\n"
    return head + yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
