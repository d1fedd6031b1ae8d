"""lib0's encoding, awareness updates, and the binary messages between gateway, holder and state."""

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svgx_common.contract import CHANNELS
from svgx_common.contract.collab import (
    AuthoredState,
    Broadcast,
    Edit,
    EditBatch,
    LateCommits,
    LinkBatch,
    LinkBroadcast,
    LinkPresence,
    LinkReceipt,
    LinkRefusal,
    LinkState,
    LinkToGateway,
    LinkToReplica,
    Presence,
    Saved,
    SyncReply,
    SyncRequest,
)
from svgx_common.contract.live.element_events import ElementEvents
from svgx_common.contract.state import Committed, CommittedBatch, Content, Entry, EntryBatch
from svgx_common.messaging import link_codec, wire
from svgx_yjs import awareness
from svgx_yjs.lib0 import MAX_SAFE_INTEGER, Decoder, Encoder, Malformed

EXAMPLES = 50
"""The number of messages of each kind. Drawing a message takes much longer than encoding and decoding it."""

numbers = st.integers(0, MAX_SAFE_INTEGER)
texts = st.text(max_size=20)
contents = st.binary(max_size=50)
json_texts = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
).map(json.dumps)
states = st.builds(awareness.State, numbers, st.integers(0, awareness.MAX_CLOCK), json_texts)


def lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy of short tuples of the items."""
    return st.lists(items, max_size=3).map(tuple)


# One strategy for each message that services exchange in lib0's encoding.
STRATEGIES: dict[type[object], st.SearchStrategy[Any]] = {
    EditBatch: st.builds(EditBatch, st.lists(st.builds(Edit, texts, contents)).map(tuple)),
    Saved: st.builds(Saved, numbers, st.lists(numbers).map(tuple)),
    SyncRequest: st.builds(SyncRequest, st.none() | contents),
    SyncReply: st.builds(SyncReply, texts, numbers, contents, contents, contents),
    AuthoredState: st.builds(AuthoredState, texts, numbers, numbers, json_texts, st.integers(0, 1)),
    Broadcast: st.builds(Broadcast, texts, numbers, contents),
    Presence: st.builds(Presence, texts, contents),
    LateCommits: st.builds(LateCommits, texts, numbers),
    ElementEvents: st.builds(ElementEvents, texts, numbers, texts),
    LinkToReplica: st.builds(
        LinkToReplica,
        texts,
        lists(st.builds(LinkBatch, texts, numbers, lists(st.builds(Edit, texts, contents)))),
        lists(
            st.builds(
                LinkState,
                texts,
                st.builds(AuthoredState, texts, numbers, numbers, json_texts, st.integers(0, 1)),
            )
        ),
    ),
    LinkToGateway: st.builds(
        LinkToGateway,
        lists(st.builds(LinkBroadcast, texts, texts, numbers, contents)),
        lists(st.builds(LinkPresence, texts, contents)),
        lists(st.builds(LinkReceipt, numbers, lists(numbers), texts)),
        lists(st.builds(LinkRefusal, numbers, numbers)),
    ),
    EntryBatch: st.builds(
        EntryBatch,
        st.lists(st.builds(Entry, texts, texts, numbers, st.lists(texts).map(tuple), contents)).map(
            tuple
        ),
    ),
    CommittedBatch: st.builds(
        CommittedBatch, st.lists(st.builds(Committed, texts, numbers)).map(tuple)
    ),
    Content: st.builds(Content, numbers, st.lists(contents).map(tuple)),
}
MESSAGES: list[tuple[Callable[[Any], bytes], Callable[[bytes], Any], st.SearchStrategy[Any]]] = [
    *(
        (wire.encode, functools.partial(wire.decode, kind), strategy)
        for kind, strategy in STRATEGIES.items()
    ),
    (awareness.encode, awareness.decode, st.lists(states, max_size=5)),
    (link_codec.encode_to_replica, link_codec.decode_to_replica, STRATEGIES[LinkToReplica]),
    (link_codec.encode_to_gateway, link_codec.decode_to_gateway, STRATEGIES[LinkToGateway]),
]
names = [
    *(kind.__name__ for kind in STRATEGIES),
    "awareness update",
    "fast codec to a replica",
    "fast codec to a gateway",
]


def test_every_lib0_channel_has_a_tested_payload() -> None:
    """Proves R-BUS-12: payloads and replies of the channels in lib0's encoding are tested here."""
    kinds = {
        kind
        for channel in CHANNELS
        if channel.codec == "lib0"
        for kind in (channel.payload, channel.reply)
        if kind is not None
    }
    assert kinds <= STRATEGIES.keys()


def test_message_has_the_documented_bytes() -> None:
    """Proves R-BUS-12: fields are in order, after their counts and lengths; 0 or 1 precedes an optional field."""
    batch = EditBatch((Edit("ann", b"\x00\x01"),))
    assert wire.encode(batch) == b"\x01" + b"\x03ann" + b"\x02\x00\x01"
    assert wire.encode(SyncRequest(None)) == b"\x00"
    assert wire.encode(SyncRequest(b"\x00")) == b"\x01\x01\x00"
    with pytest.raises(Malformed):
        wire.decode(SyncRequest, b"\x00\x00")


@pytest.mark.parametrize(("encode", "decode", "values"), MESSAGES, ids=names)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_encoded_message_is_decoded_to_the_same_message(
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    values: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    """Proves R-BUS-12: decoding reverses encoding, for every kind of message and for awareness updates."""
    value = data.draw(values)
    assert decode(encode(value)) == value


@pytest.mark.parametrize(("encode", "decode", "values"), MESSAGES, ids=names)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_damaged_message_is_decoded_or_malformed(
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    values: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    """Proves R-BUS-12: decoding raises no other error and does not read past the end."""
    message = bytearray(encode(data.draw(values)))
    for _ in range(data.draw(st.integers(0, 3))):
        if message:
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(message[: data.draw(st.integers(0, len(message)))]))
    except Malformed:
        pass


@pytest.mark.parametrize(
    ("encode", "kind"),
    [
        (link_codec.encode_to_replica, LinkToReplica),
        (link_codec.encode_to_gateway, LinkToGateway),
    ],
)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_message_of_a_link_has_the_bytes_of_the_general_codec(
    encode: Callable[[Any], bytes], kind: type[object], data: st.DataObject
) -> None:
    """Proves R-BUS-12: the fast codec of links writes the encoding that AsyncAPI describes."""
    message = data.draw(STRATEGIES[kind])
    assert encode(message) == wire.encode(message)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**53 - 1, "ffffffffffffff0f")],
)
def test_integer_has_the_encoding_of_lib0(value: int, encoded: str) -> None:
    """Proves R-SYNC-9: the bytes are those that `encoding.writeVarUint` of npm lib0 writes."""
    assert Encoder().uint(value).finish().hex() == encoded
    assert Decoder(bytes.fromhex(encoded)).uint() == value


@pytest.mark.parametrize("encoded", ["", "80", "ffffffffffffff10", "ff" * 20])
def test_integer_that_lib0_refuses_is_malformed(encoded: str) -> None:
    """Proves R-BUS-12: an integer that is cut off or has more than 53 bits is malformed."""
    with pytest.raises(Malformed):
        Decoder(bytes.fromhex(encoded)).uint()


@pytest.mark.parametrize("letter", ["x", "ж"])
def test_too_large_awareness_state_is_malformed(letter: str) -> None:
    """Proves R-AWARE-7: the limit is in bytes, not characters."""
    size = len(letter.encode())
    fits = awareness.State(1, 1, '"' + letter * ((awareness.MAX_STATE_BYTES - 2) // size) + '"')
    assert awareness.decode(awareness.encode([fits])) == [fits]
    too_large = awareness.State(1, 1, '"' + letter * (awareness.MAX_STATE_BYTES // size) + '"')
    with pytest.raises(Malformed):
        awareness.decode(awareness.encode([too_large]))


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", "NaN", "[Infinity]", "undefined", "[" * 30_000, '"\n"', "nul"]
)
def test_awareness_state_that_browsers_cannot_parse_is_malformed(text: str) -> None:
    """Proves R-AWARE-7: the state would raise an error in the browser of every other client."""
    with pytest.raises(Malformed):
        awareness.decode(awareness.encode([awareness.State(1, 1, text)]))


def test_null_state_with_blanks_means_not_present() -> None:
    """Proves R-AWARE-3: `JSON.parse` also ignores the blanks."""
    (state,) = awareness.decode(awareness.encode([awareness.State(1, 1, " null\n")]))
    assert not state.present


def test_message_with_a_too_large_count_or_length_is_malformed() -> None:
    """Proves R-BUS-12: a count or length of 2^53 - 1 allocates no memory."""
    only_a_count = Encoder().uint(MAX_SAFE_INTEGER).finish()
    for _, decode, _ in MESSAGES:
        with pytest.raises(Malformed):
            decode(only_a_count)
