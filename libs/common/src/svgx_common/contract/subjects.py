"""TEMP"""

from typing import Literal

from svgx_common.contract import ratelimits, revocations
from svgx_common.contract.operation import SERVICES as SERVICES
from svgx_common.contract.permissions import Permissions as Permissions
from svgx_common.contract.permissions import permissions as permissions
from svgx_common.contract.transport import blob_subject as blob
from svgx_common.contract.transport import replica_subject as replica

__all__ = ["SERVICES", "Permissions", "blob", "permissions", "replica"]
CanvasChannel = Literal["edit", "sync", "awareness", "update", "presence", "access"]
REVOKED = revocations.REVOKED.subject
RATE_LIMITS_CHANGED = ratelimits.RATE_LIMITS_CHANGED.subject


def canvas(canvas_id: str, channel: CanvasChannel) -> str:
    return f"svgx.canvas.{canvas_id}.{channel}"
