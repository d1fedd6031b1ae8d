"""Operations that exist only in tests, a responder for them, and connections to the bus under the name of a service."""

from svgx_common.contract import operations_of
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


class EchoRequest(RequestModel):
    text: str = ""


class EchoReply(ReplyModel):
    text: str


class UploadRequest(RawRequest):
    name: str = ""


def echo_operation(
    name: str = "echo", *, timeout: float = 10.0
) -> Operation[EchoRequest, EchoReply]:
    """Return an operation of the state service that is not in the contract."""
    return Operation(
        subject=f"svgx.state.test.{name}",
        summary="",
        request=EchoRequest,
        reply=EchoReply,
        scope=Scope.INTERNAL,
        timeout=timeout,
    )


UPLOAD = Operation(
    subject="svgx.state.test.upload",
    summary="",
    request=UploadRequest,
    reply=Blob,
    scope=Scope.INTERNAL,
    timeout=60.0,
    max_body=64 * 1024 * 1024,
)


class PartialResponder(Responder):
    """A responder that may start without handlers for some operations of its service."""

    async def start(self) -> None:
        """Answer requests, and wait until NATS knows the subscriptions."""
        self.leave_to_others(*operations_of(self._bus.service))
        await super().start()
        await self._bus.settle()


async def service_bus(backing: DevStack, service: str, replica_id: str = "test") -> Bus:
    """Connect to the bus under the name of a service, with the permissions of the NATS user `operator`.

    A service's own permissions do not include the subjects of the test operations.
    """
    return await Bus.connect(backing.nats_url("operator"), service, replica_id)
