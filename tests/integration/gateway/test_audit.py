"""Gateways record the changes by admins in the audit log, also changes with a lost answer."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from svgx_common.contract.audit import RECORD_AUDIT, RecordAuditRequest
from svgx_common.contract.errors import DeadlineExceeded, Internal, NotFound, SvgxError, Unavailable
from svgx_common.contract.operation import Empty, Operation
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.deletion import PURGE_CANVAS, RESTORE_CANVAS, Purged
from svgx_common.contract.storage.values import DELETE_VALUE
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from tests.integration.gateway.running_gateway import answering, bearer, gateway

CANVAS = "6f1d6a0c6d3f4c0c8a55a2f4b2b1c0de"


class Log:
    """The audit log of a stand-in for auth. With an `error`, it records nothing."""

    def __init__(self, error: type[SvgxError] | None = None) -> None:
        self.error = error
        self.details: list[dict[str, str]] = []
        self.user_ids: list[str | None] = []

    async def record(self, request: RecordAuditRequest, _: Call) -> Empty:
        """Keep the details and the user id of an entry."""
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.details.append(request.detail)
        self.user_ids.append(request.user_id)
        return Empty()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, None),
        (Unavailable, "unknown"),
        (DeadlineExceeded, "unknown"),
        (Internal, "unknown"),
        (NotFound, "not recorded"),
    ],
)
async def test_change_by_an_admin_is_recorded_with_its_outcome(
    backing: DevStack, error: type[SvgxError] | None, outcome: str | None
) -> None:
    """Proves R-AUTH-21: an error that may hide a change has the outcome `unknown`; a refused change is not recorded."""

    async def purge(request: Any, _: Call) -> Purged:
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return Purged(canvas_id=request.canvas_id, finished=True, rows=1)

    log = Log()
    async with (
        answering(backing, RECORD_AUDIT, log.record),
        answering(backing, PURGE_CANVAS, purge),
        gateway(backing) as http,
    ):
        await http.post(f"/admin/canvases/{CANVAS}/purge")
    expected = {"canvas_id": CANVAS, "operation": PURGE_CANVAS.name}
    if outcome == "not recorded":
        assert log.details == []
    else:
        assert log.details == [expected if outcome is None else {**expected, "outcome": outcome}]


async def test_change_that_no_service_received_is_not_recorded(backing: DevStack) -> None:
    """Proves R-AUTH-21: without a replica of the service, nothing can have changed, so there is no entry."""
    log = Log()
    async with answering(backing, RECORD_AUDIT, log.record), gateway(backing) as http:
        response = await http.post(f"/admin/canvases/{CANVAS}/purge")
    assert response.status_code == 503
    assert log.details == []


@pytest.mark.parametrize(
    ("role", "query", "recorded"),
    [(Role.ADMIN, "?user_id=ann", True), (Role.ADMIN, "", False), (Role.EDITOR, "", False)],
)
async def test_access_of_an_admin_to_values_of_others_is_recorded(
    backing: DevStack, role: Role, query: str, recorded: bool
) -> None:
    """Proves R-AUTH-21: the entry has the key, and the user as its target.

    An admin's access to own values is not recorded.
    """

    async def delete(_: Any, __: Call) -> Empty:
        await asyncio.sleep(0)
        return Empty()

    log = Log()
    async with (
        answering(backing, RECORD_AUDIT, log.record),
        answering(backing, DELETE_VALUE, delete),
        gateway(backing) as http,
    ):
        response = await http.delete(f"/state/retrieve/theme{query}", headers=bearer(role))
    assert response.status_code == 204
    entry = {"key": "theme", "operation": DELETE_VALUE.name}
    assert log.details == ([entry] if recorded else [])
    assert log.user_ids == (["ann"] if recorded else [])


@pytest.mark.parametrize("error", [Internal, Unavailable, None])
async def test_operation_that_auth_cannot_record_is_counted(
    backing: DevStack, error: type[SvgxError] | None
) -> None:
    """Proves R-AUTH-21: the operation succeeds, and the metric shows that the audit log lacks its entry."""

    async def delete(_: Any, __: Call) -> Empty:
        await asyncio.sleep(0)
        return Empty()

    before = _lost_entries()
    async with (
        answering(backing, RECORD_AUDIT, Log(error).record),
        answering(backing, DELETE_VALUE, delete),
        gateway(backing) as http,
    ):
        response = await http.delete("/state/retrieve/theme?user_id=ann")
    assert response.status_code == 204
    assert _lost_entries() - before == (0 if error is None else 1)


def _lost_entries() -> float:
    return REGISTRY.get_sample_value("svgx_engine_audit_entries_lost_total") or 0.0


@pytest.mark.parametrize("role", [Role.ADMIN, Role.EDITOR])
async def test_restore_of_a_canvas_by_an_admin_is_recorded(backing: DevStack, role: Role) -> None:
    """Proves R-AUTH-21: a restore by an admin is recorded, and a restore by an editor is not."""

    async def restore(_: Any, __: Call) -> Any:
        await asyncio.sleep(0)
        raise Unavailable

    operation: Operation[Any, Any] = RESTORE_CANVAS
    log = Log()
    async with (
        answering(backing, RECORD_AUDIT, log.record),
        answering(backing, operation, restore),
        gateway(backing) as http,
    ):
        await http.post(f"/runtime/canvases/{CANVAS}/restore", headers=bearer(role))
    entry = {"canvas_id": CANVAS, "operation": RESTORE_CANVAS.name, "outcome": "unknown"}
    assert log.details == ([entry] if role is Role.ADMIN else [])
