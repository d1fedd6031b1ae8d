"""Accounts in backups: a restore brings back all that a log-in needs, and no key or role that was removed."""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from svgx_common.contract.administration.sessions import END_USER_SESSIONS
from svgx_common.contract.auth import DELETE_USER, RESTORE_USER, User, UserRequest
from svgx_common.contract.errors import Conflict, InvalidCredentials
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.backups import (
    EXPORT_ACCOUNTS,
    IMPORT_ACCOUNTS,
    ExportAccountsRequest,
    ImportAccountsRequest,
    ImportedAccounts,
    StoredAccount,
)
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_administration import get, update
from tests.integration.auth.test_api_keys import create_key, end_key
from tests.integration.auth.test_erasure import State, admin, answering, erase, rows_of_names
from tests.integration.auth.test_password_change import NEW
from tests.integration.auth.test_revocations import started

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def state(backing: DevStack, service: None) -> AsyncIterator[Bus]:
    """The state service's connection to the bus."""
    bus = await Bus.connect(backing.nats_url("state"), "state", "test")
    try:
        yield bus
    finally:
        await bus.close()


async def _export(state: Bus, limit: int = 200) -> dict[str, StoredAccount]:
    """Return all accounts, read in pages."""
    found: dict[str, StoredAccount] = {}
    after: str | None = None
    while True:
        request = ExportAccountsRequest(after=after, limit=limit)
        page = await state.ask(EXPORT_ACCOUNTS, request)
        found |= {each.id: each for each in page.items}
        if len(page.items) < limit:
            assert page.total == len(found)
            assert list(found) == sorted(found)
            return found
        after = page.items[-1].id


async def _import(state: Bus, *accounts: StoredAccount) -> ImportedAccounts:
    return await state.ask(IMPORT_ACCOUNTS, ImportAccountsRequest(items=list(accounts)))


async def _lose(tables: Tables, user_id: str) -> None:
    """Delete an account with its sessions, keys, identities, homes and names, as if the database had lost it."""
    await tables.execute(
        "DELETE FROM refresh_token r USING session s WHERE s.id = r.session_id AND s.account_id = $1",
        user_id,
    )
    for table in ("session", "api_key", "identity", "home", "account_name"):
        await tables.execute(f"DELETE FROM {table} WHERE account_id = $1", user_id)
    await tables.execute("DELETE FROM account WHERE id = $1", user_id)


async def test_lost_account_is_restored_with_password_keys_and_identities(
    bus: Bus, state: Bus, tables: Tables
) -> None:
    """A restored account has its password, its keys and its identities again. Proves R-BACKUP-6.

    Access tokens from before the restore are not valid, and a key that was ended stays ended.
    """
    user = await create(bus)
    signed_in = await login(bus, user.username)
    me = caller_of(signed_in)
    live, ended = await create_key(bus, me, name="live"), await create_key(bus, me, name="ended")
    await end_key(bus, me, ended)
    await tables.execute(
        "INSERT INTO identity (issuer, subject, account_id) VALUES ('https://i', 'person', $1)",
        user.id,
    )
    stored = (await _export(state))[user.id]
    await _lose(tables, user.id)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    result = await _import(state, stored)
    assert (result.added, result.kept, result.refused) == (1, 0, [])
    assert await get(bus, user) == user
    assert (await login(bus, user.email)).user == user
    again = (await _export(state))[user.id]
    assert again.token_version > stored.token_version
    assert again == stored.model_copy(update={"token_version": again.token_version})
    assert [each.ended_at is None for each in again.api_keys] == [
        each.id == live.id for each in again.api_keys
    ]
    async with started(bus) as gateway:
        caller = await gateway.caller(live.key)
        assert caller is not None
        assert caller.user_id == user.id
    assert (await _import(state, stored)).kept == 1


async def _demote(bus: Bus, user: User) -> None:
    await update(bus, user, role=Role.VIEWER)


async def _disable(bus: Bus, user: User) -> None:
    await update(bus, user, disabled=True)


async def _replace_password(bus: Bus, user: User) -> None:
    await update(bus, user, password=NEW)


async def _end_sessions(bus: Bus, user: User) -> None:
    await bus.ask(END_USER_SESSIONS, UserRequest(user_id=user.id))


async def _delete_and_undelete(bus: Bus, user: User) -> None:
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
    await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))


@pytest.mark.parametrize("version", [0, 2**30])
@pytest.mark.parametrize("changes", [0, 1, 3])
async def test_tokens_from_before_a_restore_are_refused(
    bus: Bus, state: Bus, tables: Tables, changes: int, version: int
) -> None:
    """Proves R-BACKUP-6: tokens end even if the account changed after the backup, so that their version is higher.

    A running gateway refuses the tokens at once, and tokens of a new log-in are valid. The version in the backup may be
    higher than the number of seconds since 2020, which is the least version of a restored account.
    """
    user = await create(bus)
    stored = (await _export(state))[user.id]
    stored = stored.model_copy(update={"token_version": version})
    for number in range(changes):
        await update(bus, user, role=(Role.ADMIN, Role.EDITOR)[number % 2])
    signed_in = await login(bus, user.username)
    await _lose(tables, user.id)
    async with started(bus) as running:
        assert await running.admits(signed_in)
        async with running.until_broadcast():
            await _import(state, stored)
        assert not await running.admits(signed_in)
        assert await running.admits(await login(bus, user.username))
    async with started(bus) as later:
        assert not await later.admits(signed_in)
        assert await later.admits(await login(bus, user.username))


async def test_import_announces_the_ended_tokens_of_added_accounts_only(
    bus: Bus, state: Bus, tables: Tables
) -> None:
    """Proves R-BACKUP-6: the tokens of an account that exists already stay valid."""
    lost, existing = await create(bus), await create(bus)
    signed_in = await login(bus, existing.username)
    before = await _export(state)
    await _lose(tables, lost.id)
    async with started(bus) as gateway:
        async with gateway.until_broadcast():
            await _import(state, before[lost.id], before[existing.id])
        assert await gateway.admits(signed_in)


@pytest.mark.parametrize(
    "change", [_demote, _disable, _replace_password, _end_sessions, _delete_and_undelete]
)
async def test_change_of_a_restored_account_makes_no_old_token_valid(
    bus: Bus, state: Bus, tables: Tables, change: Callable[[Bus, User], Awaitable[None]]
) -> None:
    """Tokens from before a restore stay ended when a later change ends the present tokens. Proves R-BACKUP-6."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    stored = (await _export(state))[user.id]
    await _lose(tables, user.id)
    await _import(state, stored)
    await change(bus, user)
    async with started(bus) as gateway:
        assert not await gateway.admits(signed_in)


async def test_existing_account_is_kept_as_it_is(bus: Bus, state: Bus) -> None:
    """A restore brings back neither an old role nor a deleted account. Proves R-BACKUP-6."""
    demoted, deleted = await create(bus, role=Role.ADMIN), await create(bus)
    before = await _export(state, limit=2)
    await update(bus, demoted, role=Role.VIEWER)
    await bus.ask(DELETE_USER, UserRequest(user_id=deleted.id))
    result = await _import(state, before[demoted.id], before[deleted.id])
    assert (result.added, result.kept) == (0, 2)
    assert (await get(bus, demoted)).role is Role.VIEWER
    with pytest.raises(InvalidCredentials):
        await login(bus, deleted.username)


@pytest.mark.parametrize(
    "backup", ["after the erasure", "after an interrupted erasure", "of an earlier version"]
)
async def test_erased_account_stays_erased_after_a_restore_of_a_backup(
    backing: DevStack, bus: Bus, state: Bus, tables: Tables, backup: str
) -> None:
    """Proves R-LIFE-12: a backup has the mark of the erasure. An admin can erase the account again, and not restore it.

    A backup of an earlier version lacks the mark. It has the pseudonym as the names, if the erasure was complete.
    """
    user, by = await create(bus, role=Role.ADMIN), await admin(bus)
    async with answering(backing, State()):
        pseudonym = (await erase(bus, user, by)).pseudonym
    stored = (await _export(state))[user.id]
    if backup == "of an earlier version":
        content = stored.model_dump(mode="json", exclude={"erased_as"})
        stored = StoredAccount.model_validate(content)
    if backup == "after an interrupted erasure":
        stored = stored.model_copy(update={"username": user.username, "email": user.email})
    await _lose(tables, user.id)
    assert (await _import(state, stored)).added == 1
    assert await rows_of_names(tables, user) == 0
    with pytest.raises(Conflict):
        await bus.ask(RESTORE_USER, UserRequest(user_id=user.id), caller=by)
    async with answering(backing, State()):
        assert (await erase(bus, user, by)).pseudonym == pseudonym
    again = await get(bus, user)
    assert (again.username, again.email) == (pseudonym, f"{pseudonym}@erased.invalid")


@pytest.mark.parametrize(
    "change",
    [
        {"deleted_at": None},
        {"password_hash": "a hash"},
        {"email": "someone@example.org"},
        {"email": "erased-0000000000000000@erased.invalid"},
        {"username": "erased-by-hand", "email": "erased-by-hand@erased.invalid"},
    ],
)
async def test_account_that_only_looks_erased_can_be_restored(
    bus: Bus, state: Bus, tables: Tables, change: dict[str, str | None]
) -> None:
    """Proves R-LIFE-16: an account of an earlier backup counts as erased only with all marks of an erasure."""
    user = await create(bus)
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
    stored = (await _export(state))[user.id]
    name = f"erased-{secrets.token_hex(8)}"
    erased = {"username": name, "email": f"{name}@erased.invalid", "password_hash": None}
    await _lose(tables, user.id)
    stored = stored.model_copy(update={**erased, **change})
    assert (await _import(state, stored)).added == 1
    await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))
    await _lose(tables, user.id)


@pytest.mark.parametrize("field", ["username", "email", "identity"])
async def test_account_with_a_taken_name_is_refused_with_the_field(
    bus: Bus, state: Bus, tables: Tables, field: str
) -> None:
    """An account with a name or an identity of another account is refused. The answer names the field.

    Proves R-BACKUP-6.
    """
    user = await create(bus)
    await tables.execute(
        "INSERT INTO identity (issuer, subject, account_id) VALUES ('https://i', $1, $1)", user.id
    )
    stored = (await _export(state))[user.id]
    changes = {
        "username": f"x{user.id}",
        "email": f"x{user.id}@example.org",
        "identities": [],
        "api_keys": [],
        "id": f"other-{field}",
    }
    kept = {"identity": "identities"}.get(field, field)
    taken = stored.model_copy(update={name: changes[name] for name in changes if name != kept})
    result = await _import(state, taken)
    assert result.added == 0
    assert [(each.id, each.field) for each in result.refused] == [(f"other-{field}", field)]
    assert f"other-{field}" not in await _export(state)


async def test_accounts_with_similar_old_names_are_both_restored(
    bus: Bus, state: Bus, tables: Tables
) -> None:
    """A restore refuses no account because its old name looks like another name. Proves R-AUTH-41 and R-BACKUP-6."""
    user = await create(bus)
    twin_name = f"{user.username}\u200b"
    stored = (await _export(state))[user.id]
    changes = {"id": f"twin-{user.id}", "username": twin_name, "email": f"{twin_name}@example.org"}
    result = await _import(state, stored.model_copy(update=changes))
    assert (result.added, result.refused) == (1, [])
    for name, account_id in ((user.username, user.id), (twin_name, f"twin-{user.id}")):
        assert (await login(bus, name)).user.id == account_id


_CREATED: tuple[str, dict[str, object]] = ("user.created", {"role": "editor"})

EVENTS_OF_ADDED: dict[str, tuple[dict[str, object], list[tuple[str, dict[str, object]]]]] = {
    "active": ({}, [_CREATED]),
    "disabled": (
        {"disabled_at": MOMENT},
        [_CREATED, ("user.updated", {"role": "editor", "disabled": True})],
    ),
    "deleted": ({"deleted_at": MOMENT}, [_CREATED, ("user.deleted", {})]),
    "erased": ({"deleted_at": MOMENT, "erased_as": "erased-0123456789abcdef"}, []),
}
"""Changes of a stored account, and the events of its restore."""


@pytest.mark.parametrize("condition", EVENTS_OF_ADDED)
async def test_added_account_has_the_events_of_its_state(
    bus: Bus, state: Bus, tables: Tables, condition: str
) -> None:
    """Proves R-EVENT-1 and R-LIFE-12: an added account has events. A kept account and an erased one have none."""
    changes, expected = EVENTS_OF_ADDED[condition]
    user = await create(bus)
    stored = (await _export(state))[user.id].model_copy(update=changes)
    await _lose(tables, user.id)
    await tables.execute("DELETE FROM event WHERE entity_id = $1", user.id)
    assert (await _import(state, stored)).added == 1
    assert (await _import(state, stored)).kept == 1
    rows = await tables.fetch(
        "SELECT type, data::text AS data FROM event WHERE entity_id = $1 ORDER BY number", user.id
    )
    assert [(row["type"], json.loads(row["data"])) for row in rows] == [
        (name, {"user_id": user.id, **data}) for name, data in expected
    ]
