"""An admin drains one replica: the gateway forwards the order to it."""

import structlog

from svgx_common.contract.administration.replicas import DRAIN_REPLICA, DrainReplicaRequest
from svgx_common.contract.errors import Conflict, Forbidden, NotFound
from svgx_common.contract.operation import Empty
from svgx_common.contract.transport import DRAIN_ORDER
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.responder import Call, Responder
from svgx_common.messaging.wire import encode_payload
from svgx_gateway.replica_watch import ReplicaWatch

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 2.0
"""Seconds that the replica has to confirm the order."""


class ReplicaDrain:
    """The handler of `DRAIN_REPLICA`."""

    def __init__(self, bus: Bus, watch: ReplicaWatch) -> None:
        self._bus = bus
        self._watch = watch

    def register(self, responder: Responder) -> None:
        """Answer the operation."""
        responder.answer(DRAIN_REPLICA, self.drain)

    async def drain(self, request: DrainReplicaRequest, call: Call) -> Empty:
        """Tell a replica to drain. Return when it has begun.

        Raises `NotFound` for a replica that is not there, and `Conflict` for the only one of its service that answers.
        """
        if call.signed_in().by_key:
            raise Forbidden("not with an API key: log in")
        await self._watch.look()
        answering = [
            each.id
            for each in self._watch.replicas
            if each.service == request.service and not each.silent
        ]
        if request.replica_id not in answering:
            raise _no_such_replica()
        if len(answering) == 1:
            raise Conflict(
                f"this is the only replica of {request.service}: start another one first",
                field="replica_id",
            )
        subject = DRAIN_ORDER.subject_of(service=request.service, replica_id=request.replica_id)
        try:
            await self._bus.request(subject, encode_payload(Empty()), timeout=ANSWER_SECONDS)
        except NoResponders:
            raise _no_such_replica() from None
        log.info(
            "an admin drains a replica", drained=request.replica_id, drained_service=request.service
        )
        return Empty()


def _no_such_replica() -> NotFound:
    return NotFound("the service has no replica with this id that answers", field="replica_id")
