"""The handlers of a responder: one for each operation of its service."""

import pytest

from svgx_common.contract import operations_of
from svgx_common.contract.auth import ME
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from tests.integration.common.example_operations import (
    EchoReply,
    EchoRequest,
    echo_operation,
)


async def test_missing_handler_stops_the_start(state_bus: Bus) -> None:
    """Proves R-CONTRACT-2: the error names every operation without a handler."""
    responder = Responder(state_bus, "0")
    with pytest.raises(ValueError, match="operations without a handler") as refused:
        await responder.start()
    assert [each for each in operations_of("state") if each.subject not in str(refused.value)] == []


async def test_operation_that_is_left_to_other_replicas_needs_no_handler(state_bus: Bus) -> None:
    """Proves R-CONTRACT-2: a replica may leave operations to the other replicas of its service."""
    responder = Responder(state_bus, "0")
    first, *others = operations_of("state")
    responder.leave_to_others(*others)
    with pytest.raises(ValueError, match=f"operations without a handler: {first.subject}$"):
        await responder.start()
    responder.leave_to_others(first)
    await responder.start()
    await responder.drain()


async def test_second_handler_and_handler_of_another_service_are_refused(state_bus: Bus) -> None:
    """Proves R-CONTRACT-2: each operation has one handler, in its own service."""

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        return EchoReply(text="")

    async def me(*_: object) -> None:
        raise NotImplementedError

    responder = Responder(state_bus, "0")
    responder.answer(echo_operation(), answer)
    with pytest.raises(ValueError, match="has a handler already"):
        responder.answer(echo_operation(), answer)
    with pytest.raises(ValueError, match="belongs to another service"):
        responder.answer(ME, me)  # type: ignore[arg-type]  # refused before its type matters
