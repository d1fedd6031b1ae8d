"""The erasure of a user: the rows of this service, the answers of the state service, and the report."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from svgx_auth.erasure import account_erasure
from svgx_common.contract.api_keys import (
    CHECK_API_KEY,
    CREATE_API_KEY,
    CheckApiKeyRequest,
    CreateApiKeyRequest,
)
from svgx_common.contract.audit import LIST_AUDIT, AuditEvent, ListAuditRequest
from svgx_common.contract.auth import DELETE_USER, RESTORE_USER, User, UserRequest
from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    InvalidCredentials,
    NotFound,
    SvgxError,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import LIST_REVOCATIONS, ListRevocationsRequest
from svgx_common.contract.storage.erasure import (
    ERASE_AUTHOR,
    ERASE_USER,
    EraseAuthorRequest,
    ErasedAuthor,
    ErasedUser,
    EraseUserRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller, Client
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_administration import first_admin, update
from tests.integration.common.example_operations import PartialResponder

CLIENT = Client("192.0.2.77", "a desk of the user")
CANVAS_OPERATION = {"operation": "svgx.state.canvas.transfer", "canvas_id": "a canvas"}


class State:
    """A stand-in for the state service. It gives the `answers` one after the other, and repeats the last one."""

    def __init__(self, *answers: ErasedAuthor | SvgxError) -> None:
        self.answers = list(answers) or [ErasedAuthor(finished=True, touched={"journal": 5})]
        self.requests: list[EraseAuthorRequest] = []

    async def erase(self, request: EraseAuthorRequest, _: Call) -> ErasedAuthor:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, SvgxError):
            raise answer
        return answer


@asynccontextmanager
async def answering(backing: DevStack, state: State) -> AsyncIterator[None]:
    """Answer in place of the state service."""
    bus = await Bus.connect(backing.nats_url("state"), "state", secrets.token_hex(4))
    responder = PartialResponder(bus, "0")
    responder.answer(ERASE_AUTHOR, state.erase)
    try:
        await responder.start()
        yield
        await responder.drain()
    finally:
        await bus.close()


async def admin(bus: Bus) -> Caller:
    """Create an admin in addition to the first admin, and return the new admin as a caller."""
    account = await create(bus, role=Role.ADMIN)
    return caller_of(await login(bus, account.username))


async def erase(bus: Bus, user: User, by: Caller, **fields: Any) -> ErasedUser:
    request = EraseUserRequest.model_validate(
        {"user_id": user.id, "confirm": user.id, "canvases": "delete", **fields}
    )
    return await bus.ask(ERASE_USER, request, caller=by, client=Client("192.0.2.1", "office"))


async def tables_with(tables: Tables, *texts: str) -> set[str]:
    """Return the tables of the service that contain one of these texts anywhere, ignoring case."""
    names = await tables.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'auth'::regnamespace AND relkind = 'r'"
    )
    found = set()
    for (name,) in names:
        for text in texts:
            query = f'SELECT count(*) FROM "{name}" t WHERE strpos(lower(t::text), lower($1)) > 0'
            if await tables.fetchval(query, text):
                found.add(name)
    return found


async def rows_of_names(tables: Tables, user: User) -> int:
    query = "SELECT count(*) FROM account_name WHERE account_id = $1"
    return int(await tables.fetchval(query, user.id))


async def user_with_rows(bus: Bus, tables: Tables) -> tuple[User, str]:
    """Create an account with rows in all tables, and return it with an API key."""
    user = await create(bus)
    signed_in = await login(bus, user.username, client=CLIENT)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username, "a wrong password for this user", client=CLIENT)
    renamed = await update(bus, user, username=f"{user.username}-renamed")
    request = CreateApiKeyRequest(name=f"robot of {user.username}")
    key = (await bus.ask(CREATE_API_KEY, request, caller=caller_of(signed_in), client=CLIENT)).key
    await tables.execute(
        "INSERT INTO identity (issuer, subject, account_id) VALUES ('https://id', $1, $2)",
        f"subject-{user.username}",
        user.id,
    )
    await tables.execute(
        "INSERT INTO audit (event, actor_id, user_id, address, user_agent, detail)"
        " VALUES ('identity_linked', NULL, $1, $2, '', $3)",
        user.id,
        CLIENT.address,
        json.dumps({"subject": f"subject-{user.username}"}),
    )
    for detail in (
        {"operation": "svgx.state.value.read", "key": f"letters-of-{user.username}"},
        CANVAS_OPERATION,
    ):
        await tables.execute(
            "INSERT INTO audit (event, actor_id, user_id, address, user_agent, detail)"
            " VALUES ('admin_operation', 'an admin', $1, '192.0.2.1', '', $2)",
            user.id,
            json.dumps(detail),
        )
    return renamed, key


async def mark_relayed(tables: Tables) -> None:
    """Mark all events as relayed. No state service takes them in these tests."""
    await tables.execute("UPDATE event SET relayed_at = clock_timestamp()")


async def events_with(tables: Tables, text: str) -> set[str]:
    """Return the types of the events that contain a text anywhere."""
    query = "SELECT DISTINCT type FROM event e WHERE strpos(e::text, $1) > 0"
    return {row["type"] for row in await tables.fetch(query, text)}


async def test_erased_account_leaves_only_a_pseudonym(
    backing: DevStack, bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-12: no table has a name or a user agent of the user, and no credential works.

    Only the count of failed log-ins from the user's network keeps the address, for a day.
    """
    monkeypatch.setattr(account_erasure, "STEP_ENTRIES", 2)
    user, key = await user_with_rows(bus, tables)
    base = user.username.removesuffix("-renamed")
    by, state = await admin(bus), State()
    personal = (base, CLIENT.address, CLIENT.user_agent)
    assert await tables_with(tables, *personal) >= {
        *("account", "account_name", "session", "api_key", "identity", "audit", "home")
    }
    await tables.execute(
        "INSERT INTO event (id, type, service, entity_id, actor, data)"
        " VALUES (gen_random_uuid(), 'user.erased', 'auth', 'another user', $1, '{}')",
        user.id,
    )
    await mark_relayed(tables)
    async with answering(backing, state):
        report = await erase(bus, user, by)
    # The row of the network names no account.
    await tables.execute("DELETE FROM attempt WHERE key = $1", f"address:{CLIENT.address}")
    assert await tables_with(tables, *personal) == set()
    assert await tables_with(tables, user.id) == {"account", "audit", "event"}
    # The erasure's event contains the id, because its receivers need the id.
    assert await events_with(tables, user.id) == {"user.erased"}
    with_pseudonym = await events_with(tables, report.pseudonym)
    assert with_pseudonym == {"user.created", "user.updated", "user.erased"}
    query = "SELECT count(*) FROM event WHERE actor = $1"
    assert await tables.fetchval(query, user.id) == 0
    assert {(each.user_id, each.pseudonym) for each in state.requests} == {
        (user.id, report.pseudonym)
    }
    assert user.id not in report.pseudonym
    assert report.touched["state"] == {"journal": 5}
    rows = report.touched["auth"]
    assert rows["account"] == rows["session"] == rows["api_key"] == rows["identity"] == 1
    assert rows["audit"] >= 4
    assert rows["event"] == 3
    assert rows["attempt"] >= 1
    for name in (user.username, user.email):
        with pytest.raises(InvalidCredentials):
            await login(bus, name)
    with pytest.raises(Unauthenticated):
        await bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=key))
    # Another account may take the names.
    await create(bus, username=user.username)


async def test_tokens_of_an_erased_account_are_revoked(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-LIFE-12: a gateway that missed the broadcast still reads the revocation."""
    user, _ = await user_with_rows(bus, tables)
    async with answering(backing, State()):
        await erase(bus, user, await admin(bus))
    listed = await bus.ask(LIST_REVOCATIONS, ListRevocationsRequest())
    assert user.id in [each.user_id for each in listed.items if each.before_version]


async def test_audit_log_keeps_the_events_of_an_erased_account(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-LIFE-14: times, events and other actors stay; the user appears under the pseudonym."""
    user, _ = await user_with_rows(bus, tables)
    by = await admin(bus)
    query = ListAuditRequest(user_id=user.id, limit=200)
    before = (await bus.ask(LIST_AUDIT, query)).items
    async with answering(backing, State()):
        report = await erase(bus, user, by)
    after = (await bus.ask(LIST_AUDIT, query)).items
    assert [each.event for each in after[:2]] == [
        AuditEvent.USER_ERASED,
        AuditEvent.USER_DELETED,
    ]
    assert [(each.id, each.at, each.event) for each in after[2:]] == [
        (each.id, each.at, each.event) for each in before
    ]
    assert {each.user for each in after} == {report.pseudonym}
    own = [each for each in after if each.actor_id in (None, user.id)]
    assert {(each.address, each.user_agent) for each in own} == {("", "")}
    # The admin's own address is not the user's data.
    assert {each.address for each in after if each.actor_id == by.user_id} == {"192.0.2.1"}
    hidden = {AuditEvent.USER_RENAMED, AuditEvent.IDENTITY_LINKED}
    assert all(each.detail == {"erased": True} for each in after if each.event in hidden)
    # The key of a stored value is a text of the user, and the id of a canvas is not.
    assert [each.detail for each in after if each.event is AuditEvent.ADMIN_OPERATION] == [
        CANVAS_OPERATION,
        {"erased": True},
    ]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET event = 'log_out'",
        "UPDATE audit SET at = clock_timestamp()",
        "UPDATE audit SET user_id = 'x'",
        "UPDATE audit SET actor_id = coalesce(actor_id, '') || 'x'",
        "UPDATE audit SET address = 'elsewhere'",
        "UPDATE audit SET detail = '{}'",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ],
)
async def test_erasure_can_only_empty_the_personal_fields_of_the_audit_log(
    bus: Bus, tables: Tables, change: str
) -> None:
    """Proves R-LIFE-14: even a transaction that may empty personal fields cannot change an entry in any other way."""
    await create(bus)
    transaction = tables.transaction()
    await transaction.start()
    await tables.execute("SELECT set_config('svgx.erasing', 'on', true)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await tables.execute(change)
    await transaction.rollback()


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("postgresql does not answer"),
        ErasedAuthor(finished=False, touched={"journal": 2}),
    ],
)
async def test_interrupted_erasure_is_completed_by_a_second_request(
    backing: DevStack,
    bus: Bus,
    tables: Tables,
    failure: ErasedAuthor | SvgxError,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-LIFE-13: the first request's error counts the changed rows, and a second request keeps the pseudonym."""
    user, _ = await user_with_rows(bus, tables)
    by, state = await admin(bus), State(failure)
    async with answering(backing, state):
        with monkeypatch.context() as patched:
            patched.setattr("svgx_auth.handlers.user_erasure.MARGIN_SECONDS", 57.0)
            with pytest.raises(Unavailable) as refused:
                await erase(bus, user, by)
        assert "auth.account 1" in refused.value.detail
        assert ("state.journal 2" in refused.value.detail) is isinstance(failure, ErasedAuthor)
        assert refused.value.retry_after is not None
        assert await tables_with(tables, user.username) == set()
        state.answers = [
            ErasedAuthor(finished=False, touched={"journal": 3}),
            ErasedAuthor(finished=True, touched={"journal": 4}),
        ]
        report = await erase(bus, user, by)
        assert report.touched["state"] == {"journal": 4}
        assert await erase(bus, user, by) == report
    assert {each.pseudonym for each in state.requests} == {report.pseudonym}


async def test_event_that_was_not_relayed_keeps_the_id_until_a_second_request(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-LIFE-12: receivers still get an earlier event with the id by which they know the account."""
    user, by = await create(bus), await admin(bus)
    async with answering(backing, State()):
        report = await erase(bus, user, by)
        assert await events_with(tables, user.id) == {"user.created", "user.erased"}
        assert report.touched["auth"]["event"] == 0
        await mark_relayed(tables)
        report = await erase(bus, user, by)
        assert await events_with(tables, user.id) == {"user.erased"}
        assert report.touched["auth"]["event"] == 1


async def test_erasure_without_time_counts_the_rows_of_auth(
    backing: DevStack, bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-13: auth begins no step when the time of the request is over, and a second request continues."""
    user, _ = await user_with_rows(bus, tables)
    by, state = await admin(bus), State()
    async with answering(backing, state):
        with monkeypatch.context() as patched:
            patched.setattr("svgx_auth.handlers.user_erasure.MARGIN_SECONDS", 1000.0)
            with pytest.raises(Unavailable) as refused:
                await erase(bus, user, by)
        assert "the auth service needs more time" in refused.value.detail
        assert "auth.account 1" in refused.value.detail
        assert state.requests == []
        assert (await erase(bus, user, by)).touched["auth"]["audit"] >= 4
    assert await tables_with(tables, user.username) == set()


async def test_erased_account_gets_no_rows_of_names_at_a_start(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-LIFE-13: a replica that starts adds no rows for a pseudonym, so a second request changes nothing."""
    user, by = await create(bus), await admin(bus)
    async with answering(backing, State()):
        report = await erase(bus, user, by)
        async with replica(backing):
            pass
        assert await rows_of_names(tables, user) == 0
        assert await erase(bus, user, by) == report


async def test_erasure_error_names_the_missing_state_service(bus: Bus) -> None:
    """Proves R-LIFE-13: without a replica of the state service, the error names the service."""
    with pytest.raises(Unavailable) as refused:
        await erase(bus, await create(bus), await admin(bus))
    assert "the state service does not answer" in refused.value.detail


async def test_erased_account_cannot_be_restored(backing: DevStack, bus: Bus) -> None:
    """Proves R-LIFE-12: an erased account cannot be restored, even if it was deleted before its erasure."""
    user = await create(bus)
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
    async with answering(backing, State()):
        await erase(bus, user, await admin(bus))
    with pytest.raises(Conflict):
        await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))


async def test_wrong_request_erases_nothing(backing: DevStack, bus: Bus) -> None:
    """Proves R-LIFE-15: a wrong confirmation, an unsuitable new owner and the admin's own account are refused."""
    user, by, viewer = await create(bus), await admin(bus), await create(bus, role=Role.VIEWER)
    disabled = await create(bus)
    await update(bus, disabled, disabled=True)
    cases: list[tuple[dict[str, str], type[SvgxError], str]] = [
        ({"confirm": "another"}, Invalid, "confirm"),
        ({"canvases": "transfer"}, Invalid, "transfer_to"),
        ({"canvases": "delete", "transfer_to": by.user_id}, Invalid, "transfer_to"),
        ({"canvases": "transfer", "transfer_to": "unknown"}, Invalid, "transfer_to"),
        ({"canvases": "transfer", "transfer_to": user.id}, Invalid, "transfer_to"),
        ({"canvases": "transfer", "transfer_to": viewer.id}, Invalid, "transfer_to"),
        ({"canvases": "transfer", "transfer_to": disabled.id}, Invalid, "transfer_to"),
        ({"user_id": by.user_id, "confirm": by.user_id}, Forbidden, "user_id"),
        ({"user_id": "unknown", "confirm": "unknown"}, NotFound, "user_id"),
    ]
    state = State()
    async with answering(backing, state):
        for fields, error, field in cases:
            with pytest.raises(error) as refused:
                await erase(bus, user, by, **fields)
            assert refused.value.field == field, fields
        assert state.requests == []
        assert (await login(bus, user.username)).user.id == user.id
        report = await erase(bus, user, by, canvases="transfer", transfer_to=by.user_id)
    assert {each.transfer_to for each in state.requests} == {by.user_id}
    assert report.user_id == user.id


async def test_last_admin_is_not_erased(backing: DevStack, bus: Bus, tables: Tables) -> None:
    """Proves R-LIFE-15: an erasure of the last active admin is refused, in the same way as a deletion."""
    root = await first_admin(bus)
    await tables.execute(
        "UPDATE account SET disabled_at = clock_timestamp() WHERE role = 'admin' AND id <> $1",
        root.id,
    )
    by = Caller("somebody", "somebody", Role.ADMIN, "s")
    async with answering(backing, State()):
        with pytest.raises(Conflict):
            await erase(bus, root, by)
