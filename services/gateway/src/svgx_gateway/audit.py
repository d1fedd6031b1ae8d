"""Entries in auth's audit log about the operations that admins carry out in other services."""

import asyncio
from typing import Any

import structlog
from prometheus_client import Counter

from svgx_common.contract.audit import RECORD_AUDIT, AuditEvent, RecordAuditRequest
from svgx_common.contract.errors import DeadlineExceeded, Internal, SvgxError, Unavailable
from svgx_common.contract.operation import Operation, RequestModel
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.caller import Caller, Client
from svgx_common.observability.repeated_lines import AUDIT_LOGGER

log = structlog.get_logger(AUDIT_LOGGER)

LOST_ENTRIES = Counter(
    "svgx_engine_audit_entries_lost",
    "Operations of admins that auth could not record in the audit log. The gateway's log has them.",
)

_UNKNOWN_OUTCOMES = (DeadlineExceeded, Unavailable, Internal, asyncio.CancelledError)


def must_record(operation: Operation[Any, Any], request: RequestModel, caller: Caller) -> bool:
    """Return whether the gateway has to record a call in the audit log.

    These calls are changes that only admins make, and an admin's calls that reach data of other users. Auth records its
    own operations itself. Some requests name no user, such as the restore of a canvas. The gateway does not know the
    owner of the canvas, so it records this call even when the admin is the owner.
    """
    if operation.is_audited:
        return True
    if caller.role is not Role.ADMIN or not operation.reaches_others:
        return False
    return getattr(request, "user_id", "") not in (None, caller.user_id)


def is_outcome_unknown(error: SvgxError | asyncio.CancelledError) -> bool:
    """Return whether an operation that ended with this error may have changed something.

    The answer may have been lost after the change, or the gateway may have stopped before it. `NoResponders` means that
    no service received the request, so nothing has changed. All other kinds of `Unavailable` may be raised after the
    request was sent.
    """
    return isinstance(error, _UNKNOWN_OUTCOMES) and not isinstance(error, NoResponders)


async def record(
    bus: Bus,
    operation: Operation[Any, Any],
    request: RequestModel,
    caller: Caller,
    client: Client,
    *,
    unknown: bool = False,
) -> None:
    """Record an operation, with the ids in its path. The user that the request names is the target of the entry.

    `unknown` means that the answer was lost, so the outcome of the operation is not known. If auth cannot record the
    operation, only the gateway's log has it, and `LOST_ENTRIES` counts it.
    """
    assert operation.http is not None
    detail = {name: str(getattr(request, name)) for name in operation.http.path_fields}
    target = detail.pop("user_id", None) or getattr(request, "user_id", None)
    detail["operation"] = operation.name
    if unknown:
        detail["outcome"] = "unknown"
    log.info("an admin called an operation", user_id=caller.user_id, target=target, detail=detail)
    entry = RecordAuditRequest(event=AuditEvent.ADMIN_OPERATION, user_id=target, detail=detail)
    try:
        await bus.ask(RECORD_AUDIT, entry, caller=caller, client=client)
    except SvgxError as error:
        LOST_ENTRIES.inc()
        log.error(
            "the audit log lacks an entry",
            user_id=caller.user_id,
            target=target,
            detail=detail,
            error=error.code,
        )
