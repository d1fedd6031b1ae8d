"""Encoded bytes of npm lib0, y-protocols and @hocuspocus/common, compared with those of `svgx_yjs`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from svgx_yjs import awareness, hocuspocus, protocol
from svgx_yjs.lib0 import Decoder, Encoder
from svgx_yjs.structure import EMPTY_UPDATE

SCRIPTS = Path(__file__).parents[2] / "e2e/yjs"
Vectors = dict[str, Any]


@pytest.fixture(scope="module")
async def vectors(node: Path) -> Vectors:
    """Return the output of `vectors.mjs`: values, and their bytes as the npm packages encode them."""
    process = await asyncio.create_subprocess_exec(
        str(node), "vectors.mjs", cwd=SCRIPTS, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    printed: Vectors = json.loads(output)
    assert printed["decoded_again"]
    return printed


def test_values_have_the_bytes_of_lib0(vectors: Vectors) -> None:
    """Unsigned numbers, texts and byte arrays are encoded and decoded as lib0 does. `skip_int` skips a signed number.

    Proves R-SYNC-9.
    """
    for value, encoded in vectors["uints"]:
        assert Encoder().uint(value).finish().hex() == encoded
        assert Decoder(bytes.fromhex(encoded)).uint() == value
    for _, encoded in vectors["ints"]:
        decoder = Decoder(bytes.fromhex(encoded))
        decoder.skip_int()
        assert decoder.done
    for value, encoded in vectors["texts"]:
        assert Encoder().text(value).finish().hex() == encoded
        assert Decoder(bytes.fromhex(encoded)).text() == value
    for value, encoded in vectors["buffers"]:
        assert Encoder().buffer(bytes.fromhex(value)).finish().hex() == encoded
        assert Decoder(bytes.fromhex(encoded)).buffer().hex() == value


def test_sync_messages_have_the_bytes_of_y_protocols(vectors: Vectors) -> None:
    """The sync messages for five updates are encoded and decoded as y-protocols does. Proves R-SYNC-9."""
    for each in vectors["sync"]:
        update, whole, vector = (bytes.fromhex(each[key]) for key in ("update", "whole", "vector"))
        step_1, step_2 = bytes.fromhex(each["step1"]), bytes.fromhex(each["step2"])
        message = bytes.fromhex(each["updateMessage"])
        assert protocol.encode_sync_step_1(vector) == step_1
        assert protocol.encode_sync_step_2(whole) == step_2
        assert protocol.encode_update(update) == message
        assert protocol.decode(step_1) == protocol.SyncStep1(vector)
        assert protocol.decode(step_2) == protocol.DocumentMessage(whole, whole=True)
        assert protocol.decode(message) == protocol.DocumentMessage(update, whole=False)
    assert bytes.fromhex(vectors["sync"][0]["update"]) == EMPTY_UPDATE
    assert protocol.decode(bytes.fromhex(vectors["query"])) == protocol.QueryAwareness()


def test_awareness_updates_have_the_bytes_of_y_protocols(vectors: Vectors) -> None:
    """States of present and absent clients, also with large ids, are encoded and decoded as y-protocols does.

    Proves R-SYNC-9.
    """
    states = [
        awareness.State(each["client"], each["clock"], each["json"])
        for each in vectors["awareness"]
    ]
    for state, each in zip(states, vectors["awareness"], strict=True):
        assert awareness.encode([state]).hex() == each["update"]
        assert awareness.decode(bytes.fromhex(each["update"])) == [state]
    assert [state.present for state in states] == [True, True, True, False, False]


def test_newer_awareness_state_wins_as_in_y_protocols(vectors: Vectors) -> None:
    """Of two entries of one client, each a state or a removal, this library keeps the one that y-protocols keeps.

    Proves R-AWARE-1 and R-AWARE-3.
    """
    for case in vectors["winners"]:
        first, second = (
            awareness.State(5, case[key]["clock"], case[key]["state"])
            for key in ("first", "second")
        )
        kept = second if second.supersedes(first) else first
        assert kept.json == case["wins"], case


def test_hocuspocus_messages_have_the_bytes_of_the_npm_package(vectors: Vectors) -> None:
    """Messages of the server are encoded, and messages of the client are decoded, as @hocuspocus/common does.

    Proves R-HOCUS-8.
    """
    given = vectors["hocuspocus"]
    name = given.pop("name")
    bytes_of = {key: bytes.fromhex(value) for key, value in given.items()}
    writer = hocuspocus.Writer(name)
    assert {
        "token_request": writer.token_request(),
        "permission_denied": writer.permission_denied("4404 there is none"),
        "read_write": writer.authenticated(may_edit=True),
        "readonly": writer.authenticated(may_edit=False),
        "stateless": writer.stateless('{"quota":{}}'),
        "closed": writer.close("gone"),
        "applied": writer.sync_status(applied=True),
        "refused": writer.sync_status(applied=False),
        "pong": hocuspocus.PONG_MESSAGE,
    }.items() <= bytes_of.items()
    expected = {
        "token": hocuspocus.NamedMessage(name, hocuspocus.Authenticate("secret")),
        "close": hocuspocus.NamedMessage(name, hocuspocus.Leave()),
        "stateless": hocuspocus.NamedMessage(name, hocuspocus.IgnoredMessage()),
        "query": hocuspocus.NamedMessage(name, protocol.QueryAwareness()),
        "ping": hocuspocus.Ping(),
        "pong": None,
    }
    assert {key: hocuspocus.decode(bytes_of[key]) for key in expected} == expected
