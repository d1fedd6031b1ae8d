"""lib0's encoding, awareness updates, and the binary messages between gateway, holder and state."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_common.messaging import wire
from svgx_yjs import awareness
from svgx_yjs.lib0 import MAX_SAFE_INTEGER, Decoder, Encoder, Malformed

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

MESSAGES: list[tuple[Callable[[Any], bytes], Callable[[bytes], Any], st.SearchStrategy[Any]]] = [
    (
        wire.encode_edits,
        wire.decode_edits,
        st.lists(st.builds(wire.Edit, texts, contents), max_size=5),
    ),
    (
        wire.encode_broadcast,
        wire.decode_broadcast,
        st.builds(wire.Broadcast, texts, numbers, contents),
    ),
    (wire.encode_presence, wire.decode_presence, st.builds(wire.Presence, texts, contents)),
    (
        wire.encode_sync_reply,
        wire.decode_sync_reply,
        st.builds(wire.SyncReply, texts, numbers, contents, contents, contents),
    ),
    (
        wire.encode_entries,
        wire.decode_entries,
        st.lists(
            st.builds(wire.Entry, texts, texts, numbers, st.tuples(texts, texts), contents),
            max_size=5,
        ),
    ),
    (
        wire.encode_committed,
        wire.decode_committed,
        st.lists(st.builds(wire.Committed, texts, numbers), max_size=5),
    ),
    (
        wire.encode_content,
        wire.decode_content,
        st.builds(wire.Content, numbers, st.tuples(contents, contents)),
    ),
    (wire.encode_saved, wire.decode_saved, st.builds(wire.Saved, numbers, st.tuples(numbers))),
    (
        wire.encode_sync_request,
        wire.decode_sync_request,
        st.one_of(st.none(), contents),
    ),
    (
        awareness.encode,
        awareness.decode,
        st.lists(states, max_size=5),
    ),
    (
        lambda authored: wire.encode_authored_state(*authored),
        wire.decode_authored_state,
        st.tuples(texts, states),
    ),
]
names = [encode.__module__.rpartition(".")[2] + "." + encode.__name__ for encode, _, _ in MESSAGES]


@pytest.mark.parametrize(("encode", "decode", "values"), MESSAGES, ids=names)
@given(data=st.data())
def test_encoded_message_is_decoded_to_the_same_message(
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    values: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    """Proves R-BUS-12: for every message and awareness updates."""
    value = data.draw(values)
    assert decode(encode(value)) == value


@pytest.mark.parametrize(("encode", "decode", "values"), MESSAGES, ids=names)
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
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**53 - 1, "ffffffffffffff0f")],
)
def test_integer_has_the_encoding_of_lib0(value: int, encoded: str) -> None:
    """Proves R-SYNC-9: as `encoding.writeVarUint` of npm lib0 writes it."""
    assert Encoder().uint(value).finish().hex() == encoded
    assert Decoder(bytes.fromhex(encoded)).uint() == value


@pytest.mark.parametrize("encoded", ["", "80", "ffffffffffffff10", "ff" * 20])
def test_integer_that_lib0_refuses_is_malformed(encoded: str) -> None:
    """Proves R-BUS-12: an integer that is cut off, or has more than 53 bits."""
    with pytest.raises(Malformed):
        Decoder(bytes.fromhex(encoded)).uint()


@pytest.mark.parametrize("letter", ["x", "ж"])
def test_too_large_awareness_state_is_malformed(letter: str) -> None:
    """Proves R-AWARE-7: the limit is in bytes, not characters."""
    size = len(letter.encode())
    fits = awareness.State(1, 1, '"' + letter * ((awareness.MAX_STATE - 2) // size) + '"')
    assert awareness.decode(awareness.encode([fits])) == [fits]
    too_large = awareness.State(1, 1, '"' + letter * (awareness.MAX_STATE // size) + '"')
    with pytest.raises(Malformed):
        awareness.decode(awareness.encode([too_large]))


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", "NaN", "[Infinity]", "undefined", "[" * 30_000, '"\n"', "nul"]
)
def test_awareness_state_that_browsers_cannot_parse_is_malformed(text: str) -> None:
    """Proves R-SYNC-8: such a state would raise an error in the browser of every other client."""
    with pytest.raises(Malformed):
        awareness.decode(awareness.encode([awareness.State(1, 1, text)]))


def test_null_state_with_blanks_means_not_present() -> None:
    """Proves R-AWARE-3: `JSON.parse` also ignores the blanks."""
    (state,) = awareness.decode(awareness.encode([awareness.State(1, 1, " null\n")]))
    assert not state.present


def test_message_with_a_too_large_count_or_length_is_malformed() -> None:
    """Proves R-BUS-12: a count or length of 2^53 allocates no memory."""
    only_a_count = Encoder().uint(MAX_SAFE_INTEGER).finish()
    for _, decode, _ in MESSAGES:
        if decode is not wire.decode_sync_request:
            with pytest.raises(Malformed):
                decode(only_a_count)
