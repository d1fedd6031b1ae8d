"""Changes that admins make to accounts."""

import asyncio
import secrets
from typing import Any

import pytest

from svgx_common.contract.audit import LIST_AUDIT, AuditEvent, ListAuditRequest
from svgx_common.contract.auth import (
    DELETE_USER,
    GET_USER,
    LIST_USERS,
    ME,
    RESTORE_USER,
    UPDATE_USER,
    ListUsersRequest,
    MeRequest,
    UpdateUserRequest,
    User,
    UserRequest,
)
from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    InvalidCredentials,
    NotFound,
    Unauthenticated,
)
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from tests.integration.auth.conftest import ADMIN_PASSWORD, Tables
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_sessions import expect_refused_refresh, refresh


async def update(bus: Bus, user: User, **changes: Any) -> User:
    return await bus.ask(UPDATE_USER, UpdateUserRequest(user_id=user.id, **changes))


async def get(bus: Bus, user: User) -> User:
    return await bus.ask(GET_USER, UserRequest(user_id=user.id))


async def search_usernames(bus: Bus, search: str, *, deleted: bool = False) -> list[str]:
    """Return the usernames of the accounts that match the search."""
    request = ListUsersRequest(search=search, deleted=deleted)
    return [user.username for user in (await bus.ask(LIST_USERS, request)).items]


async def first_admin(bus: Bus) -> User:
    """Return the account of the first admin, which the service creates at start."""
    return (await login(bus, "root", ADMIN_PASSWORD)).user


async def demote_others(tables: Tables, *admins: User) -> None:
    """Demote the admins that other tests have left, so that only the accounts `admins` are admins."""
    query = "UPDATE account SET role = 'editor' WHERE role = 'admin' AND id <> ALL ($1)"
    await tables.execute(query, [each.id for each in admins])


async def test_update_changes_only_the_named_fields(bus: Bus) -> None:
    """Proves R-AUTH-15: a change applies to the named fields, and to no others."""
    user = await create(bus)
    name = f"new-{secrets.token_hex(4)}"
    changed = await update(bus, user, username=name)
    assert changed == user.model_copy(update={"username": name})
    changed = await update(bus, user, email=f"{name}@example.org", role=Role.VIEWER)
    assert (changed.username, changed.email, changed.role) == (
        name,
        f"{name}@example.org",
        Role.VIEWER,
    )
    assert await update(bus, user) == changed == await get(bus, user)
    # The account's own username in another case is no conflict.
    assert (await update(bus, user, username=name.upper())).username == name.upper()
    assert (await login(bus, f"{name}@example.org")).user.role is Role.VIEWER


@pytest.mark.parametrize("field", ["username", "email"])
async def test_update_to_a_taken_name_is_refused(bus: Bus, field: str) -> None:
    """Proves R-AUTH-8: a changed name cannot be another account's name, even that of a deleted account."""
    user, other = await create(bus), await create(bus)
    await bus.ask(DELETE_USER, UserRequest(user_id=other.id))
    for taken in {getattr(other, field).upper(), other.email}:
        with pytest.raises(Conflict) as refusal:
            await update(bus, user, **{field: taken})
        assert refusal.value.field == field


async def test_disabled_account_loses_its_sessions(bus: Bus) -> None:
    """Proves R-AUTH-15: disabling ends the sessions; after enabling, the user has to log in again."""
    user = await create(bus)
    tokens = await login(bus, user.username)
    assert (await update(bus, user, disabled=True)).disabled
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    with pytest.raises(Unauthenticated):
        await bus.ask(ME, MeRequest(), caller=caller_of(tokens))
    assert not (await update(bus, user, disabled=False)).disabled
    await expect_refused_refresh(bus, tokens.refresh_token)
    await login(bus, user.username)


async def test_new_role_applies_from_the_next_refresh(bus: Bus) -> None:
    """Proves R-AUTH-15: the next refresh brings the new role, and the session continues."""
    user = await create(bus, role=Role.EDITOR)
    tokens = await login(bus, user.username)
    await update(bus, user, role=Role.VIEWER)
    renewed = await refresh(bus, tokens.refresh_token)
    before, after = caller_of(tokens), caller_of(renewed)
    assert (before.role, after.role) == (Role.EDITOR, Role.VIEWER)
    assert before.session_id == after.session_id
    assert before.token_version < after.token_version


async def test_restored_account_is_unchanged_and_its_sessions_stay_ended(bus: Bus) -> None:
    """Proves R-AUTH-15: a restored account is unchanged, but its sessions stay ended.

    Admins can list and read a deleted account, but cannot change it.
    """
    user = await create(bus)
    tokens = await login(bus, user.username)
    request = UserRequest(user_id=user.id)
    await bus.ask(DELETE_USER, request)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    await expect_refused_refresh(bus, tokens.refresh_token)
    assert await search_usernames(bus, user.username) == []
    assert await search_usernames(bus, user.username, deleted=True) == [user.username]
    assert (await get(bus, user)).deleted
    operations: list[Any] = [DELETE_USER, UPDATE_USER]
    for operation in operations:
        with pytest.raises(NotFound):
            await bus.ask(operation, operation.request(user_id=user.id))
    for _ in range(2):
        assert await bus.ask(RESTORE_USER, request) == user
    await expect_refused_refresh(bus, tokens.refresh_token)
    await login(bus, user.username)
    assert await search_usernames(bus, user.username) == [user.username]


async def test_password_reset_ends_the_sessions(bus: Bus) -> None:
    """Proves R-AUTH-15: a password set by an admin ends the sessions and replaces the old password."""
    user = await create(bus)
    tokens = await login(bus, user.username)
    new = "given by an admin, once"
    for easy in ("password1234", user.email, "the-new-name-of-this"):
        with pytest.raises(Invalid) as refusal:
            await update(bus, user, username="the-new-name-of-this", password=easy)
        assert refusal.value.field == "password"
    await refresh(bus, tokens.refresh_token)
    assert await update(bus, user, password=new) == user
    await expect_refused_refresh(bus, tokens.refresh_token)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    await login(bus, user.username, new)
    log = await bus.ask(LIST_AUDIT, ListAuditRequest(user_id=user.id))
    assert AuditEvent.PASSWORD_RESET in [entry.event for entry in log.items]
    with pytest.raises(NotFound):
        await bus.ask(UPDATE_USER, UpdateUserRequest(user_id="nobody", password=new))


@pytest.mark.parametrize("operation", [GET_USER, UPDATE_USER, DELETE_USER, RESTORE_USER])
async def test_operation_on_an_unknown_account_gets_not_found(bus: Bus, operation: Any) -> None:
    """Proves R-AUTH-15: an operation on an unknown account gets `NotFound`."""
    with pytest.raises(NotFound) as refusal:
        await bus.ask(operation, operation.request(user_id="nobody"))
    assert refusal.value.field == "user_id"


async def test_last_admin_cannot_be_removed(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-16: the last active admin stays; disabled and deleted admins do not count."""
    admin = await first_admin(bus)
    await demote_others(tables, admin)
    disabled, deleted = await create(bus, role=Role.ADMIN), await create(bus, role=Role.ADMIN)
    await update(bus, disabled, disabled=True)
    await bus.ask(DELETE_USER, UserRequest(user_id=deleted.id))
    for changes in ({"role": Role.EDITOR}, {"disabled": True}):
        with pytest.raises(Conflict):
            await update(bus, admin, **changes)
    with pytest.raises(Conflict):
        await bus.ask(DELETE_USER, UserRequest(user_id=admin.id))
    # A disabled admin is not active, and can lose the role.
    await update(bus, disabled, role=Role.VIEWER)
    assert (await update(bus, admin, email="root@example.com")).role is Role.ADMIN


async def test_simultaneous_changes_cannot_remove_both_admins(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-16: when one admin is demoted and the other is deleted at the same time, one change is refused."""
    admin = await first_admin(bus)
    await demote_others(tables, admin)
    for _ in range(10):
        other = await create(bus, role=Role.ADMIN)
        answers = await asyncio.gather(
            update(bus, admin, role=Role.EDITOR),
            bus.ask(DELETE_USER, UserRequest(user_id=other.id)),
            return_exceptions=True,
        )
        assert [isinstance(answer, Conflict) for answer in answers].count(True) == 1
        if not isinstance(answers[0], Conflict):
            await update(bus, admin, role=Role.ADMIN)
            await update(bus, other, role=Role.EDITOR)


async def test_search_has_no_wildcards(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-9: a search matches parts of usernames and email addresses, in any case and without wildcards."""
    key = secrets.token_hex(4)
    first = await create(bus, f"{key}%_Ann", f"{key}x@example.org")
    second = await create(bus, f"{key}bob", f"{key}y%_@example.org")
    assert await search_usernames(bus, f"{key}%_a".upper()) == [first.username]
    assert await search_usernames(bus, f"{key}Y%_@") == [second.username]
    assert await search_usernames(bus, f"{key}_") == []
    assert await search_usernames(bus, key) == [first.username, second.username]
    page = await bus.ask(LIST_USERS, ListUsersRequest(search=key, limit=1))
    page = await bus.ask(LIST_USERS, ListUsersRequest(search=key, limit=1, cursor=page.next))
    assert [user.username for user in page.items] == [second.username]
    assert page.next is None


async def test_admin_cannot_reset_own_password_without_the_old_one(bus: Bus) -> None:
    """Proves R-AUTH-17: an admin cannot set the password of the admin's own account without the old password."""
    admin = await create(bus, role=Role.ADMIN)
    tokens = await login(bus, admin.username)
    request = UpdateUserRequest(user_id=admin.id, password="nobody ever thinks of it")
    with pytest.raises(Forbidden) as refusal:
        await bus.ask(UPDATE_USER, request, caller=caller_of(tokens))
    assert refusal.value.field == "password"
    await refresh(bus, tokens.refresh_token)
    await login(bus, admin.username)
    other = await login(bus, (await create(bus, role=Role.ADMIN)).username)
    await bus.ask(UPDATE_USER, request, caller=caller_of(other))
    await login(bus, admin.username, "nobody ever thinks of it")
