"""Operations of the tests' own, and buses that ask and answer them as two services do."""

from svgx_common.contract.operation import (
    Blob,
    Operation,
    RawRequest,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import Scope
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Responder
from svgx_devstack import DevStack


class Question(RequestModel):
    text: str = ""


class Reply(ReplyModel):
    text: str


class Bytes(RawRequest):
    name: str = ""


def asking(name: str = "ask", *, timeout: float = 10.0) -> Operation[Question, Reply]:
    """An operation of the state service that is in no contract."""
    return Operation(
        subject=f"svgx.state.test.{name}",
        summary="",
        request=Question,
        reply=Reply,
        scope=Scope.INTERNAL,
        timeout=timeout,
    )


SEND = Operation(
    subject="svgx.state.test.send",
    summary="",
    request=Bytes,
    reply=Blob,
    scope=Scope.INTERNAL,
    timeout=60.0,
    max_body=64 * 1024 * 1024,
)


class TestResponder(Responder):
    """A responder that may leave the contract's operations unanswered."""

    __test__ = False

    async def start(self) -> None:
        """Join without the check."""
        await self.announce()
        await self.join()
        await self._bus.settle()


async def service_bus(backing: DevStack, service: str, replica_id: str = "test") -> Bus:
    """A connection with a service's own credentials."""
    return await Bus.connect(backing.nats_url(service), service, replica_id)
