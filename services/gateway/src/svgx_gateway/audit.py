"""Entries in auth's audit log about the actions of admins that a gateway carries out."""

import structlog

from svgx_common.contract.audit import RECORD_AUDIT, AuditEvent, RecordAuditRequest
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call

log = structlog.get_logger(__name__)


async def record(bus: Bus, event: AuditEvent, call: Call, **detail: str | int) -> None:
    """Record an action of the caller that has succeeded. While auth cannot, the log line is the only trace of it."""
    caller = call.signed_in()
    log.info("an admin acts", event_type=event.value, user_id=caller.user_id, detail=detail)
    try:
        request = RecordAuditRequest(event=event, detail=detail)
        await bus.ask(RECORD_AUDIT, request, caller=caller, client=call.client)
    except SvgxError as error:
        log.error("the audit log lacks an entry", event_type=event.value, error=error.code)
