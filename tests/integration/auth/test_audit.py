"""The audit log: security events with their actors and addresses, in entries that cannot be changed."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from svgx_common.contract import OPERATIONS
from svgx_common.contract.audit import (
    LIST_AUDIT,
    RECORD_AUDIT,
    REPORTED_EVENTS,
    AuditEntry,
    AuditEvent,
    ListAuditRequest,
)
from svgx_common.contract.auth import (
    CHANGE_PASSWORD,
    CREATE_USER,
    DELETE_USER,
    END_SESSION,
    LOGIN,
    LOGOUT,
    REFRESH,
    RESTORE_USER,
    UPDATE_USER,
    Tokens,
)
from svgx_common.contract.errors import Conflict, Forbidden, Invalid, SvgxError
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from svgx_common.pages import Cursor, Listing
from svgx_gateway import audit as gateway_audit
from tests.integration.auth.conftest import ADMIN_PASSWORD, Tables
from tests.integration.auth.test_accounts import PASSWORD, caller_of, create, login
from tests.integration.auth.test_administration import update
from tests.integration.auth.test_attempts import lengthen_waits
from tests.integration.auth.test_password_change import NEW
from tests.integration.auth.test_sessions import age_spent_tokens
from tests.integration.pages import all_pages

CLIENT = Client("192.0.2.44", "desk")


async def entries(bus: Bus, **filters: Any) -> list[AuditEntry]:
    """Return the entries, oldest first."""
    page = await bus.ask(LIST_AUDIT, ListAuditRequest(limit=200, **filters))
    return page.items[::-1]


async def events_of(bus: Bus, user_id: str) -> list[AuditEvent]:
    return [entry.event for entry in await entries(bus, user_id=user_id)]


class Sender:
    """A sender of one caller's requests, from the client `CLIENT`."""

    def __init__(self, bus: Bus, tokens: Tokens | None = None) -> None:
        self._bus = bus
        self._caller = caller_of(tokens) if tokens else None

    async def do(self, operation: Operation[Any, Any], **fields: Any) -> Any:
        request = operation.request(**fields)
        return await self._bus.ask(operation, request, caller=self._caller, client=CLIENT)

    async def fail(self, operation: Operation[Any, Any], **fields: Any) -> None:
        with pytest.raises(SvgxError):
            await self.do(operation, **fields)


async def test_events_of_an_account_are_recorded_in_order(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-21: the events of an account are written in order, each with its actor, user and address."""
    await tables.execute("DELETE FROM attempt")
    admin_tokens = await login(bus, "root", ADMIN_PASSWORD)
    admin, anonymous = Sender(bus, admin_tokens), Sender(bus)
    name = f"audited-{id(bus)}"
    user = await admin.do(
        CREATE_USER, username=name, email=f"{name}@example.org", password=PASSWORD, role="editor"
    )
    first = await anonymous.do(LOGIN, username=name, password=PASSWORD)
    await anonymous.fail(LOGIN, username=name, password="wrong")
    second = await anonymous.do(LOGIN, username=name, password=PASSWORD)
    me = Sender(bus, first)
    await me.do(END_SESSION, session_id=caller_of(second).session_id)
    await anonymous.fail(REFRESH, refresh_token=second.refresh_token)
    await me.fail(CHANGE_PASSWORD, old_password="wrong", new_password=NEW)
    await me.do(CHANGE_PASSWORD, old_password=PASSWORD, new_password=NEW)
    renewed = await anonymous.do(REFRESH, refresh_token=first.refresh_token)
    await age_spent_tokens(tables, 31)
    await anonymous.fail(REFRESH, refresh_token=first.refresh_token)
    third = await anonymous.do(LOGIN, username=name, password=NEW)
    await Sender(bus, third).do(LOGOUT)
    await admin.do(UPDATE_USER, user_id=user.id, username=f"{name}-new", role="viewer")
    await admin.do(UPDATE_USER, user_id=user.id, disabled=True)
    await anonymous.fail(LOGIN, username=f"{name}-new", password=NEW)
    await admin.do(UPDATE_USER, user_id=user.id, disabled=False)
    await admin.do(DELETE_USER, user_id=user.id)
    await admin.do(RESTORE_USER, user_id=user.id)
    await admin.do(RESTORE_USER, user_id=user.id)
    for _ in range(4):
        await anonymous.fail(LOGIN, username=f"{name}-new", password="wrong")

    found = await entries(bus, user_id=user.id)
    by_admin = admin_tokens.user.id
    assert [(entry.event.value, entry.actor_id) for entry in found] == [
        ("user_created", by_admin),
        ("log_in", None),
        ("log_in_failed", None),
        ("log_in", None),
        ("session_ended", user.id),
        ("refresh_refused", None),
        ("password_change_refused", user.id),
        ("password_changed", user.id),
        ("token_reused", None),
        ("log_in", None),
        ("log_out", user.id),
        ("user_renamed", by_admin),
        ("role_changed", by_admin),
        ("user_disabled", by_admin),
        ("log_in_failed", None),
        ("user_enabled", by_admin),
        ("user_deleted", by_admin),
        ("user_restored", by_admin),
        *[("log_in_failed", None)] * 4,
    ]
    assert {(entry.address, entry.user_agent) for entry in found} == {(CLIENT.address, "desk")}
    assert {entry.user for entry in found} == {f"{name}-new"}
    assert found[0].actor == "Root"
    assert found[11].detail == {"username": {"from": name, "to": f"{name}-new"}}
    assert found[12].detail == {"from": "editor", "to": "viewer"}
    assert found[4].session_id == caller_of(second).session_id
    assert found[8].session_id == caller_of(renewed).session_id

    await lengthen_waits(tables)
    await anonymous.fail(LOGIN, username=f"{name}-new", password=NEW)
    assert (await events_of(bus, user.id))[-1] is AuditEvent.LOG_IN_DELAYED


async def test_failed_change_is_not_recorded(bus: Bus) -> None:
    """Proves R-AUTH-21: an entry is committed together with its change, or not at all."""
    user, other = await create(bus), await create(bus)
    before = await events_of(bus, user.id)
    with pytest.raises(Conflict):
        await update(bus, user, role=Role.VIEWER, username=other.username)
    assert await events_of(bus, user.id) == before


async def test_failed_log_in_is_recorded_without_the_entered_name(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-21: the log does not contain entered names, because a user may enter a password as the name."""
    entered = "hunter2-the-password"
    await Sender(bus).fail(LOGIN, username=entered, password="x")
    newest = (await entries(bus, event=AuditEvent.LOG_IN_FAILED))[-1]
    assert (newest.user_id, newest.address) == (None, CLIENT.address)
    rows = await tables.fetch("SELECT a::text FROM audit a")
    everything = "".join(row[0] for row in rows)
    for secret in (entered, PASSWORD, ADMIN_PASSWORD, NEW):
        assert secret not in everything


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET event = 'log_out'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "TRUNCATE audit CASCADE",
        """
        INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM audit
        ON CONFLICT (id) DO UPDATE SET event = 'log_out'
        """,
    ],
)
async def test_audit_log_is_append_only(bus: Bus, tables: Tables, change: str) -> None:
    """Proves R-AUTH-22: PostgreSQL refuses every change of an entry, even when the table's owner makes it."""
    user = await create(bus)
    rows = "SELECT * FROM audit WHERE user_id = $1 ORDER BY id"
    before = await tables.fetch(rows, user.id)
    assert before
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await tables.execute(change)
    assert await tables.fetch(rows, user.id) == before


async def test_audit_pages_have_each_entry_once(bus: Bus) -> None:
    """Proves R-AUTH-23: the pages have each entry once, newest first, even entries of the same time."""
    user = await create(bus)
    await update(bus, user, username=f"{user.username}-2", role=Role.VIEWER, disabled=True)
    everything = await entries(bus, user_id=user.id)
    assert len(everything) == 4
    pages = all_pages(
        lambda cursor: bus.ask(
            LIST_AUDIT, ListAuditRequest(user_id=user.id, limit=1, cursor=cursor)
        )
    )
    paged = [entry async for page in pages for entry in page.items]
    assert paged == everything[::-1]


async def test_audit_log_can_be_filtered(bus: Bus) -> None:
    """Proves R-AUTH-23: the log can be filtered by event, user, address and time."""
    start = datetime.now(UTC) - timedelta(seconds=1)
    user = await create(bus)
    here, there = Client("192.0.2.101", "a"), Client("192.0.2.102", "b")
    await login(bus, user.username, client=here)
    await login(bus, user.username, client=there)
    assert await events_of(bus, user.id) == [
        AuditEvent.USER_CREATED,
        AuditEvent.LOG_IN,
        AuditEvent.LOG_IN,
    ]
    (found,) = await entries(bus, user_id=user.id, address=here.address)
    assert found.user_agent == "a"
    assert len(await entries(bus, user_id=user.id, event=AuditEvent.LOG_IN)) == 2
    assert await entries(bus, user_id=user.id, until=start) == []
    assert len(await entries(bus, user_id=user.id, since=found.at)) == 2
    assert len(await entries(bus, user_id=user.id, since=start, until=found.at)) == 1


@pytest.mark.parametrize("text", ["x", "+1", "1" * 19, "-1"])
async def test_cursor_without_an_entrys_id_is_refused(bus: Bus, text: str) -> None:
    """Proves R-AUTH-23: a cursor is refused when its id cannot be the id of an entry."""
    cursor = Listing.of(LIST_AUDIT, ListAuditRequest()).encode(Cursor(datetime.now(UTC), text))
    with pytest.raises(Invalid) as refusal:
        await bus.ask(LIST_AUDIT, ListAuditRequest(cursor=cursor))
    assert refusal.value.field == "cursor"


@pytest.mark.parametrize(
    "odd",
    [
        {"since": "2026-01-01T00:00:00"},
        {"until": "0001-01-01T00:00:00+23:59"},
        {"since": "9999-12-31T23:59:59-23:59"},
        {"event": "everything"},
        {"user_id": "a b"},
        {"address": "\0"},
    ],
)
async def test_invalid_filter_is_refused_with_its_name(bus: Bus, odd: dict[str, str]) -> None:
    """Proves R-AUTH-23: an invalid filter causes a refusal that names the filter, and no internal error."""
    with pytest.raises(Invalid) as refusal:
        await bus.request(LIST_AUDIT.subject, json.dumps(odd).encode(), timeout=10)
    assert refusal.value.field == next(iter(odd))


async def test_events_of_other_services_are_recorded_with_the_admin_as_actor(bus: Bus) -> None:
    """Proves R-AUTH-21: admin operations in other services are recorded in the same log."""
    tokens = await login(bus, "root", ADMIN_PASSWORD)
    target = await create(bus)
    for event in REPORTED_EVENTS:
        await Sender(bus, tokens).do(
            RECORD_AUDIT,
            event=event,
            user_id=target.id,
            detail={"operation": "o", "replica_id": "r1"},
        )
        (entry,) = await entries(bus, event=event, user_id=target.id)
        assert (entry.actor_id, entry.user, entry.address, entry.detail) == (
            tokens.user.id,
            target.username,
            CLIENT.address,
            {"operation": "o", "replica_id": "r1"},
        )


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.is_audited or each.reaches_others],
    ids=lambda operation: operation.name,
)
async def test_each_operation_that_gateways_report_is_recorded_with_its_ids(
    bus: Bus, operation: Operation[Any, Any]
) -> None:
    """Proves R-AUTH-21: the entry has the ids of the request's path, and the user of the request as its target."""
    assert operation.http is not None
    target = await create(bus)
    names = {"user_id"} & set(operation.request.model_fields)
    ids = {name: f"{name}-{target.id}" for name in operation.http.path_fields}
    request = operation.request.model_construct(**ids, **dict.fromkeys(names, target.id))
    caller = caller_of(await login(bus, "root", ADMIN_PASSWORD))
    before = await entries(bus, event=AuditEvent.ADMIN_OPERATION)
    await gateway_audit.record(bus, operation, request, caller, CLIENT)
    (entry,) = (await entries(bus, event=AuditEvent.ADMIN_OPERATION))[len(before) :]
    assert entry.detail == {**ids, "operation": operation.name}
    assert entry.user_id == (target.id if names else None)
    assert entry.actor_id == caller.user_id


@pytest.mark.parametrize("name", ["self", "session", "event", "origin", "user_id", "session_id"])
async def test_reported_detail_may_have_any_name(bus: Bus, name: str) -> None:
    """Proves R-AUTH-21: a name in the detail replaces no field of the entry."""
    tokens = await login(bus, "root", ADMIN_PASSWORD)
    await Sender(bus, tokens).do(
        RECORD_AUDIT, event=AuditEvent.ADMIN_OPERATION, detail={name: "a value"}
    )
    entry = (await entries(bus, event=AuditEvent.ADMIN_OPERATION))[-1]
    assert (entry.detail, entry.user_id) == ({name: "a value"}, None)
    assert entry.session_id == caller_of(tokens).session_id


async def test_events_of_auth_are_not_recorded_for_another_service(bus: Bus) -> None:
    """Proves R-AUTH-21: another service cannot record an event of auth, such as a forged log-in."""
    sender = Sender(bus, await login(bus, "root", ADMIN_PASSWORD))
    for event in set(AuditEvent) - REPORTED_EVENTS:
        with pytest.raises(Forbidden):
            await sender.do(RECORD_AUDIT, event=event, detail={})
