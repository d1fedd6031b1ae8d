"""Admins list and end the sessions of other accounts."""

import pytest

from svgx_common.contract.administration.sessions import (
    END_USER_SESSION,
    END_USER_SESSIONS,
    LIST_USER_SESSIONS,
    EndUserSessionRequest,
    ListUserSessionsRequest,
)
from svgx_common.contract.audit import LIST_AUDIT, AuditEvent, ListAuditRequest
from svgx_common.contract.auth import DELETE_USER, SessionPage, Tokens, UserRequest
from svgx_common.contract.errors import Forbidden, Invalid, NotFound
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    ListRevocationsRequest,
    Revocation,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller, Client
from tests.integration.auth.conftest import ADMIN_PASSWORD
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_sessions import expect_refused_refresh, refresh

PHONE = Client("198.51.100.9", "phone")


async def admin_of(bus: Bus) -> Caller:
    """Log in as the first admin, and return the caller."""
    return caller_of(await login(bus, "root", ADMIN_PASSWORD))


async def revocations_of(bus: Bus, user_id: str) -> list[Revocation]:
    """Return the revocations of one account."""
    found = await bus.ask(LIST_REVOCATIONS, ListRevocationsRequest())
    return [each for each in found.items if each.user_id == user_id]


async def sessions_of(
    bus: Bus, tokens: Tokens, admin: Caller, limit: int = 50, cursor: str | None = None
) -> SessionPage:
    request = ListUserSessionsRequest(user_id=tokens.user.id, limit=limit, cursor=cursor)
    return await bus.ask(LIST_USER_SESSIONS, request, caller=admin)


def request_to_end(tokens: Tokens) -> EndUserSessionRequest:
    return EndUserSessionRequest(user_id=tokens.user.id, session_id=caller_of(tokens).session_id)


async def test_admin_sees_the_live_sessions_of_an_account(bus: Bus) -> None:
    """The list has pages, newest session first, and marks no session as the admin's own. Proves R-AUTH-43."""
    admin, user = await admin_of(bus), await create(bus)
    logged_in = [await login(bus, user.username, client=PHONE) for _ in range(3)]
    first = await sessions_of(bus, logged_in[0], admin, limit=2)
    second = await sessions_of(bus, logged_in[0], admin, limit=2, cursor=first.next)
    found = [*first.items, *second.items]
    expected = [caller_of(each).session_id for each in reversed(logged_in)]
    assert [each.id for each in found] == expected
    assert second.next is None
    assert {(each.address, each.user_agent, each.current) for each in found} == {
        ("198.51.100.9", "phone", False)
    }
    other = await login(bus, (await create(bus)).username)
    with pytest.raises(Invalid):  # a cursor belongs to the list of one account
        await sessions_of(bus, other, admin, cursor=first.next)


async def test_admin_ends_one_session_of_another_account(bus: Bus) -> None:
    """The session is revoked, other sessions continue, and the audit log names the admin. Proves R-AUTH-43."""
    admin, user = await admin_of(bus), await create(bus)
    ended, kept = await login(bus, user.username), await login(bus, user.username)
    await bus.ask(END_USER_SESSION, request_to_end(ended), caller=admin)
    await expect_refused_refresh(bus, ended.refresh_token)
    await refresh(bus, kept.refresh_token)
    assert [each.session_id for each in await revocations_of(bus, user.id)] == [
        caller_of(ended).session_id
    ]
    request = ListAuditRequest(event=AuditEvent.SESSION_ENDED, user_id=user.id)
    (entry,) = (await bus.ask(LIST_AUDIT, request)).items
    assert (entry.actor_id, entry.session_id) == (admin.user_id, caller_of(ended).session_id)
    with pytest.raises(NotFound) as error:
        await bus.ask(END_USER_SESSION, request_to_end(ended), caller=admin)
    assert error.value.field == "session_id"


async def test_admin_ends_no_session_under_another_accounts_id(bus: Bus) -> None:
    """The session must belong to the account that the request names. Proves R-AUTH-43."""
    admin = await admin_of(bus)
    one = await login(bus, (await create(bus)).username)
    two = await login(bus, (await create(bus)).username)
    request = request_to_end(one).model_copy(update={"user_id": two.user.id})
    with pytest.raises(NotFound):
        await bus.ask(END_USER_SESSION, request, caller=admin)
    await refresh(bus, one.refresh_token)


async def test_admin_ends_all_sessions_of_an_account(bus: Bus) -> None:
    """All sessions and access tokens end, and the account can log in again. Proves R-AUTH-43."""
    admin, user = await admin_of(bus), await create(bus)
    logged_in = [await login(bus, user.username) for _ in range(3)]
    await bus.ask(END_USER_SESSIONS, UserRequest(user_id=user.id), caller=admin)
    for each in logged_in:
        await expect_refused_refresh(bus, each.refresh_token)
    assert (await sessions_of(bus, logged_in[0], admin)).items == []
    revoked = await revocations_of(bus, user.id)
    assert any(each.before_version == 1 for each in revoked)
    request = ListAuditRequest(event=AuditEvent.SESSIONS_ENDED, user_id=user.id)
    assert len((await bus.ask(LIST_AUDIT, request)).items) == 1
    await login(bus, user.username)


@pytest.mark.parametrize("operation", ["one", "all"])
async def test_key_of_an_admin_ends_no_session(bus: Bus, operation: str) -> None:
    """A stolen API key must not log users out. Proves R-AUTH-43."""
    admin = await admin_of(bus)
    by_key = Caller(admin.user_id, admin.username, Role.ADMIN, "key", by_key=True)
    tokens = await login(bus, (await create(bus)).username)
    if operation == "one":
        ending = bus.ask(END_USER_SESSION, request_to_end(tokens), caller=by_key)
    else:
        request = UserRequest(user_id=tokens.user.id)
        ending = bus.ask(END_USER_SESSIONS, request, caller=by_key)
    with pytest.raises(Forbidden):
        await ending
    await refresh(bus, tokens.refresh_token)


async def test_sessions_of_an_unknown_account_are_not_found(bus: Bus) -> None:
    """The error for an unknown account names `user_id`. The list of a deleted account is empty. Proves R-AUTH-43."""
    admin = await admin_of(bus)
    tokens = await login(bus, (await create(bus)).username)
    await bus.ask(DELETE_USER, UserRequest(user_id=tokens.user.id), caller=admin)
    assert (await sessions_of(bus, tokens, admin)).items == []
    with pytest.raises(NotFound) as listing:
        await bus.ask(LIST_USER_SESSIONS, ListUserSessionsRequest(user_id="unknown"), caller=admin)
    with pytest.raises(NotFound) as ending:
        await bus.ask(END_USER_SESSIONS, UserRequest(user_id="unknown"), caller=admin)
    assert (listing.value.field, ending.value.field) == ("user_id", "user_id")
