"""docs/asyncapi.yaml is what the contract makes it, and says what the gateway speaks."""

from collections.abc import Iterator
from typing import Any

from svgx_common.contract import CHANNELS, OPERATIONS
from svgx_common.contract.close_codes import Close
from svgx_common.messaging import asyncapi
from svgx_gateway.websocket import handshake
from svgx_yjs import protocol
from tests.unit.house_rules.sources import ROOT

DOCUMENT = asyncapi.document()


def test_the_file_is_current() -> None:
    """Proves R-CONTRACT-5: `make docs` writes it."""
    assert (ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8") == asyncapi.text()


def test_every_operation_and_channel_is_there() -> None:
    """Proves R-CONTRACT-5."""
    found = {channel["address"] for channel in DOCUMENT["channels"].values()}
    expected = {operation.subject for operation in OPERATIONS}
    expected |= {channel.subject for channel in CHANNELS}
    assert expected <= found


def test_the_websocket_is_described_as_it_is_spoken() -> None:
    """Proves R-CONTRACT-5: frames, close codes and subprotocols."""
    sync = protocol.SYNC
    assert {first for first, _, _ in asyncapi.FRAMES.values()} == {
        *((sync, each) for each in (protocol.STEP_1, protocol.STEP_2, protocol.UPDATE)),
        (protocol.AWARENESS,),
        (protocol.QUERY_AWARENESS,),
        (protocol.SAVED,),
        (protocol.TOKEN,),
    }
    for code in Close:
        assert f"{code.value} {code.summary}" in asyncapi.WEBSOCKET
    assert f"`{handshake.SUBPROTOCOL}, {handshake.BEARER}<token>`" in asyncapi.WEBSOCKET


def references(value: Any) -> Iterator[str]:
    """All references in the document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_every_reference_leads_somewhere() -> None:
    """Proves R-CONTRACT-5."""
    for reference in set(references(DOCUMENT)):
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target
