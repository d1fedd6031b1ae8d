"""How jobs and results travel between a process and its workers: explicit, so that nothing is ever unpickled.

A frame is the length of its head (4 bytes, big-endian), the length of its body (8 bytes), the head (JSON: an object
with scalars and lists of them) and the body: blobs one after another, whose lengths are in the head under "blobs".
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

PREFIX = struct.Struct(">IQ")
MAX_HEAD = 16 * 1024 * 1024
MAX_BODY = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """values: what JSON can say. blobs: bytes."""

    values: dict[str, object] = field(default_factory=dict)
    blobs: Sequence[bytes] = ()


def encode(frame: Frame) -> list[bytes]:
    """The parts of a frame, to be written in this order."""
    head = json.dumps({**frame.values, "blobs": [len(blob) for blob in frame.blobs]}).encode()
    return [PREFIX.pack(len(head), sum(map(len, frame.blobs))) + head, *frame.blobs]


def decode_prefix(prefix: bytes) -> tuple[int, int]:
    """Lengths of head and body. Raises ValueError when they cannot be right."""
    head, body = PREFIX.unpack(prefix)
    if head > MAX_HEAD or body > MAX_BODY:
        raise ValueError("the frame is too long")
    return head, body


def decode(head: bytes, body: bytes) -> Frame:
    """The frame of a head and a body. Raises ValueError when they do not fit together."""
    values = json.loads(head)
    if not isinstance(values, dict):
        raise ValueError("the head is no object")
    lengths = values.pop("blobs", [])
    if sum(lengths) != len(body):
        raise ValueError("the blobs do not fill the body")
    blobs = []
    place = 0
    for length in lengths:
        blobs.append(body[place : place + length])
        place += length
    return Frame(values, blobs)
