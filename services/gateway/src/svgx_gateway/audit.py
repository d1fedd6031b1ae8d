"""Entries in auth's audit log about the operations that admins carry out in other services."""

from typing import Any

import structlog

from svgx_common.contract.audit import RECORD_AUDIT, AuditEvent, RecordAuditRequest
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.operation import Operation, RequestModel
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller, Client

log = structlog.get_logger(__name__)


async def record(
    bus: Bus, operation: Operation[Any, Any], request: RequestModel, caller: Caller, client: Client
) -> None:
    """Record an operation that has succeeded, with the ids in its path.

    If auth cannot record the operation, only the log line shows it.
    """
    assert operation.http is not None
    detail = {name: str(getattr(request, name)) for name in operation.http.path_fields}
    detail["operation"] = operation.name
    log.info("an admin acts", user_id=caller.user_id, detail=detail)
    entry = RecordAuditRequest(event=AuditEvent.ADMIN_OPERATION, detail=detail)
    try:
        await bus.ask(RECORD_AUDIT, entry, caller=caller, client=client)
    except SvgxError as error:
        log.error("the audit log lacks an entry", detail=detail, error=error.code)
