"""docs/asyncapi.yaml matches the contract and the gateway's WebSocket protocol."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from svgx_common.contract import CHANNELS, OPERATIONS
from svgx_common.contract.close_codes import Close
from svgx_common.contract.live import json_messages
from svgx_common.messaging import asyncapi, headers
from svgx_gateway.identity.credentials import BEARER_SUBPROTOCOL
from svgx_gateway.websocket import handshake
from svgx_yjs import hocuspocus, protocol
from tests.unit.house_rules.sources import ROOT

DOCUMENT = asyncapi.document()


def test_asyncapi_file_matches_the_contract() -> None:
    """The file equals the document that is built from the contract; `make docs` writes it. Proves R-CONTRACT-5."""
    assert (ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8") == asyncapi.text()


def test_asyncapi_has_every_operation_and_channel() -> None:
    """The document has the subject of each operation and of each channel. Proves R-CONTRACT-5."""
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    expected = {operation.subject for operation in OPERATIONS}
    expected |= {channel.subject for channel in CHANNELS}
    assert expected <= addresses


def test_asyncapi_has_every_header_of_the_bus() -> None:
    """The document describes each header that the services send, in requests and in answers. Proves R-CONTRACT-5."""
    sent = {value for name, value in vars(headers).items() if name.startswith("HEADER_")}
    described = DOCUMENT["components"]["schemas"]["Headers"]["properties"]
    assert described.keys() == sent | {"traceparent"}
    reference = {"$ref": "#/components/schemas/Headers"}
    for name in (*(each.name for each in OPERATIONS), *(each.name for each in CHANNELS)):
        messages = DOCUMENT["channels"][name]["messages"]
        assert [message["headers"] for message in messages.values()] == [reference] * len(messages)


def test_asyncapi_has_the_answers_of_operations_and_channels() -> None:
    """The document has a reply and an error for each subject with answers, and for no other. Proves R-CONTRACT-5."""
    answered = {each.name for each in OPERATIONS}
    answered |= {each.name for each in CHANNELS if each.reply is not None}
    described = {name for name, each in DOCUMENT["operations"].items() if "reply" in each}
    assert described == answered
    for name in answered:
        assert {"reply", "error"} < DOCUMENT["channels"][name]["messages"].keys()


def test_discriminators_of_asyncapi_are_names_of_properties() -> None:
    """AsyncAPI 3.0 does not allow the objects of OpenAPI there. Proves R-CONTRACT-5."""
    items = DOCUMENT["components"]["schemas"]["EditOperation"]["properties"]["operations"]["items"]
    assert items["discriminator"] == "op"
    assert "propertyName:" not in asyncapi.text()


def test_asyncapi_describes_the_websocket_protocol() -> None:
    """The document has all frames, close codes and subprotocols of the gateway. Proves R-CONTRACT-5."""
    sync = protocol.SYNC
    assert {type_numbers for type_numbers, _, _ in asyncapi.FRAMES.values()} == {
        *((sync, each) for each in (protocol.STEP_1, protocol.STEP_2, protocol.UPDATE)),
        (protocol.AWARENESS,),
        (protocol.QUERY_AWARENESS,),
        (protocol.SAVED,),
        (protocol.TOKEN,),
        (protocol.LIMITS,),
        (protocol.QUOTA,),
    }
    for code in Close:
        assert f"{code.value} {code.summary}" in asyncapi.WEBSOCKET
    assert f"`{handshake.SUBPROTOCOL}, {BEARER_SUBPROTOCOL}<token>`" in asyncapi.WEBSOCKET


def test_asyncapi_describes_the_hocuspocus_protocol() -> None:
    """The document has every type of Hocuspocus message that the gateway reads or sends. Proves R-CONTRACT-5."""
    types = {numbers[0] for numbers, _, _ in asyncapi.HOCUSPOCUS_FRAMES.values()}
    assert types == {
        *(protocol.SYNC, protocol.AWARENESS, protocol.QUERY_AWARENESS),
        *(hocuspocus.AUTH, hocuspocus.STATELESS, hocuspocus.CLOSE, hocuspocus.SYNC_STATUS),
        *(hocuspocus.PING, hocuspocus.PONG),
    }


@pytest.mark.parametrize("model", json_messages.SERVER_MESSAGES)
def test_asyncapi_requires_the_fields_that_the_server_always_sends(
    model: type[json_messages.ServerMessage],
) -> None:
    """Each message of the server has its `type`. It lacks fields without a value. Proves R-CONTRACT-5."""
    schema = DOCUMENT["components"]["schemas"][model.__name__]
    optional = {
        name
        for name, field in model.model_fields.items()
        if type(None) in get_args(field.annotation)
    }
    assert set(schema["required"]) == model.model_fields.keys() - optional


def references(value: Any) -> Iterator[str]:
    """Yield all references in a part of the document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_asyncapi_references_resolve() -> None:
    """Each reference points to a part of the document. Proves R-CONTRACT-5."""
    for reference in set(references(DOCUMENT)):
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert isinstance(target, dict)  # `{}` is the schema of a value that may be any JSON
