"""The frames that carry jobs and results between a service and its workers. Frames contain no pickled objects.

A frame has four parts: the length of the head (4 bytes, big-endian), the length of the body (8 bytes), the head and the
body. The head is a JSON object with scalars and lists. The body is a sequence of blobs; the head lists their lengths as
"blobs".
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from svgx_canvas.changes.yjs_client import YjsClient
from svgx_canvas.policy import Dropped

PREFIX = struct.Struct(">IQ")
"""The lengths of head and body."""

MAX_HEAD_BYTES = 16 * 1024 * 1024
"""Maximum length of a head in bytes. A longer head is refused."""

MAX_BODY_BYTES = 1024 * 1024 * 1024
"""Maximum length of a body in bytes. A longer body is refused."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A job or a result."""

    values: dict[str, object] = field(default_factory=dict)
    """The values of the head, without "blobs"."""
    blobs: Sequence[bytes] = ()


def dropped_of(frame: Frame) -> list[Dropped]:
    """Return the parts of a file or canvas that a job or a result lists as dropped."""
    items = frame.values["dropped"]
    assert isinstance(items, list)
    return [Dropped(str(what), str(reason), int(count)) for what, reason, count in items]


def yjs_client_of(frame: Frame) -> YjsClient | None:
    """Return the Yjs client that a job or a result names, or None."""
    client = frame.values["client"]
    if client is None:
        return None
    assert isinstance(client, list)
    return YjsClient(*map(int, client))


def client_value(client: YjsClient | None) -> list[int] | None:
    """Return a Yjs client as a value of a frame."""
    return None if client is None else [client.id, client.clock]


def encode(frame: Frame) -> list[bytes]:
    """Return the bytes of a frame as a list, to be written in this order. The blobs are not copied."""
    head = json.dumps({**frame.values, "blobs": [len(blob) for blob in frame.blobs]}).encode()
    return [PREFIX.pack(len(head), sum(map(len, frame.blobs))) + head, *frame.blobs]


def decode_prefix(prefix: bytes) -> tuple[int, int]:
    """Return the lengths of head and body. Raises ValueError if one is above its limit."""
    head, body = PREFIX.unpack(prefix)
    if head > MAX_HEAD_BYTES or body > MAX_BODY_BYTES:
        raise ValueError("the frame is too long")
    return head, body


def decode(head: bytes, body: bytes) -> Frame:
    """Return the frame of a head and a body. Raises ValueError if they do not match."""
    values = json.loads(head)
    if not isinstance(values, dict):
        raise ValueError("the head is not an object")
    lengths = values.pop("blobs", [])
    if sum(lengths) != len(body):
        raise ValueError("the blobs do not fill the body")
    blobs = []
    start = 0
    for length in lengths:
        blobs.append(body[start : start + length])
        start += length
    return Frame(values, blobs)
