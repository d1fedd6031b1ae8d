"""The encoding of dataclasses in lib0, for the messages between gateway, holder and state.

A dataclass is encoded as the sequence of its fields: an integer as a variable-length integer, text and bytes with their
length, a tuple with its count, and an optional field with 0 or 1 in front. Yjs updates in the messages are not parsed.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, Union

from pydantic import BaseModel

from svgx_yjs.lib0 import Decoder, Encoder, Malformed

Message = TypeVar("Message")

Write = Callable[[Encoder, Any], object]
Read = Callable[[Decoder], Any]


def encode(message: object) -> bytes:
    """Return a dataclass of the contract in lib0's encoding."""
    encoder = Encoder()
    kind: Any = type(message)
    write, _ = _codec(kind)
    write(encoder, message)
    return encoder.finish()


def decode(kind: type[Message], data: bytes) -> Message:
    """Return the message of type `kind` that `encode` wrote. Raise `Malformed` for any other bytes."""
    decoder = Decoder(data)
    untyped_kind: Any = kind
    _, read = _codec(untyped_kind)
    message: Message = read(decoder)
    if not decoder.done:
        raise Malformed("there are bytes after the message")
    return message


def encode_payload(payload: object) -> bytes:
    """Return the payload of a channel in the channel's codec: JSON for a Pydantic model, else lib0."""
    if isinstance(payload, BaseModel):
        return payload.model_dump_json().encode()
    return encode(payload)


@functools.cache
def _codec(kind: Any) -> tuple[Write, Read]:
    """Return the functions that write and read one type."""
    simple: dict[Any, tuple[Write, Read]] = {
        str: (Encoder.text, Decoder.text),
        int: (Encoder.uint, Decoder.uint),
        bytes: (Encoder.buffer, Decoder.buffer),
    }
    if kind in simple:
        return simple[kind]
    if dataclasses.is_dataclass(kind):
        return _dataclass_codec(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and arguments[1:] == (...,):
        return _tuple_codec(*_codec(arguments[0]))
    if origin in (types.UnionType, Union) and arguments[1:] == (type(None),):
        return _optional_codec(*_codec(arguments[0]))
    raise TypeError(f"messages have no fields of type {kind}")


def _dataclass_codec(kind: Any) -> tuple[Write, Read]:
    hints = typing.get_type_hints(kind)
    fields = [(field.name, *_codec(hints[field.name])) for field in dataclasses.fields(kind)]
    readers = [read for _, _, read in fields]

    def write(encoder: Encoder, message: Any) -> None:
        for name, write_field, _ in fields:
            write_field(encoder, getattr(message, name))

    def read(decoder: Decoder) -> Any:
        return kind(*[read_field(decoder) for read_field in readers])

    return write, read


def _tuple_codec(write_item: Write, read_item: Read) -> tuple[Write, Read]:
    def write(encoder: Encoder, items: Any) -> None:
        encoder.uint(len(items))
        for item in items:
            write_item(encoder, item)

    def read(decoder: Decoder) -> Any:
        # Reading stops at the end of the data, so a count that is too large allocates no memory.
        return tuple([read_item(decoder) for _ in range(decoder.uint())])

    return write, read


def _optional_codec(write_value: Write, read_value: Read) -> tuple[Write, Read]:
    def write(encoder: Encoder, value: Any) -> None:
        if value is None:
            encoder.uint(0)
        else:
            encoder.uint(1)
            write_value(encoder, value)

    def read(decoder: Decoder) -> Any:
        return read_value(decoder) if decoder.flag() else None

    return write, read
