"""The operation with which an admin drains a replica of any service. `/health/summary/` lists the replicas."""

from typing import Annotated

from pydantic import Field

from svgx_common.contract.errors import Conflict, Forbidden, NotFound
from svgx_common.contract.operation import (
    Empty,
    Http,
    Identifier,
    Operation,
    RequestModel,
    ServiceName,
)
from svgx_common.contract.policy import RateClass, Scope


class DrainReplicaRequest(RequestModel):
    """`service` and `replica_id` identify the replica, as in `/health/summary/`."""

    service: Annotated[ServiceName, Field(examples=["collab"])]
    replica_id: Annotated[Identifier, Field(examples=["5f0c1e9a7b3d"])]


DRAIN_REPLICA = Operation(
    subject="svgx.gateway.replica.drain",
    summary="Drain a replica: it finishes or hands over its work, then ends; its supervisor starts another replica",
    request=DrainReplicaRequest,
    reply=Empty,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/replicas/{service}/{replica_id}/drain", status=204),
    rate=RateClass.WRITE,
    outside=True,
    errors=(Conflict, Forbidden, NotFound),
)
