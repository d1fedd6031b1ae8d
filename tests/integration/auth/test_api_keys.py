"""API keys: their creation, their use through a gateway, and their end."""

import asyncio
import time
from typing import Any

import pytest

from svgx_auth.api_keys import ApiKeys
from svgx_auth.audit import Audit
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.api_keys import (
    CHECK_API_KEY,
    CREATE_API_KEY,
    END_API_KEY,
    LIST_API_KEYS,
    ApiKeyInfo,
    CheckApiKeyRequest,
    CreateApiKeyRequest,
    EndApiKeyRequest,
    ListApiKeysRequest,
    NewApiKey,
)
from svgx_common.contract.audit import LIST_AUDIT, AuditEvent, ListAuditRequest
from svgx_common.contract.auth import (
    CHANGE_PASSWORD,
    CREATE_USER,
    DELETE_USER,
    END_SESSION,
    LOGOUT,
    RESTORE_USER,
    UPDATE_USER,
    Tokens,
    User,
    UserRequest,
)
from svgx_common.contract.collab import OPEN
from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import LIST_REVOCATIONS, ListRevocationsRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_devstack import DevStack
from svgx_gateway.identity import api_keys
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import PASSWORD, caller_of, create, login
from tests.integration.auth.test_administration import first_admin, update
from tests.integration.auth.test_password_change import NEW, change
from tests.integration.auth.test_revocations import started
from tests.integration.pages import all_pages


async def create_key(bus: Bus, by: Caller, **fields: Any) -> NewApiKey:
    request = CreateApiKeyRequest(**({"name": "robot"} | fields))
    return await bus.ask(CREATE_API_KEY, request, caller=by)


async def list_keys(bus: Bus, by: Caller, **fields: Any) -> list[ApiKeyInfo]:
    return (await bus.ask(LIST_API_KEYS, ListApiKeysRequest(**fields), caller=by)).items


async def end_key(bus: Bus, by: Caller, key: ApiKeyInfo) -> None:
    await bus.ask(END_API_KEY, EndApiKeyRequest(key_id=key.id), caller=by)


async def user_and_caller(bus: Bus, role: Role = Role.EDITOR) -> tuple[User, Caller]:
    user = await create(bus, role=role)
    return user, caller_of(await login(bus, user.username))


async def admin_caller(bus: Bus) -> Caller:
    admin = await first_admin(bus)
    return Caller(admin.id, admin.username, Role.ADMIN, "s")


async def test_key_acts_as_its_account(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-27: a key acts as its account, is shown once and is stored as a hash.

    The list of keys contains the time of the key's last use.
    """
    user, me = await user_and_caller(bus)
    key = await create_key(bus, me, name="the robot", expires_in_days=7)
    assert key.key.startswith(f"{key.prefix}_")
    assert 6.9 < (key.expires_at - key.created_at).total_seconds() / 86400 < 7.1
    async with started(bus) as gateway:
        caller = await gateway.caller(key.key)
    assert caller == Caller(user.id, user.username, Role.EDITOR, key.id, 0, by_key=True)
    (found,) = await list_keys(bus, me)
    assert found.last_used_at is not None
    assert found == ApiKeyInfo(
        **key.model_dump(exclude={"key", "last_used_at"}), last_used_at=found.last_used_at
    )
    secret = key.key.removeprefix(f"{key.prefix}_")
    for table in ("api_key", "audit"):
        rows = await tables.fetch(f"SELECT t::text FROM {table} t")
        assert secret not in "".join(row[0] for row in rows)


@pytest.mark.parametrize(
    ("account_role", "key_role", "later_role", "effective"),
    [
        (Role.ADMIN, None, None, Role.ADMIN),
        (Role.EDITOR, Role.VIEWER, None, Role.VIEWER),
        (Role.EDITOR, Role.VIEWER, Role.ADMIN, Role.VIEWER),
        (Role.EDITOR, Role.EDITOR, Role.VIEWER, Role.VIEWER),
    ],
)
async def test_key_has_the_lower_of_both_roles(
    bus: Bus, account_role: Role, key_role: Role | None, later_role: Role | None, effective: Role
) -> None:
    """Proves R-AUTH-28: a key's role is the lower of its own role and the account's current role."""
    user, me = await user_and_caller(bus, account_role)
    key = await create_key(bus, me, role=key_role)
    async with started(bus) as gateway:
        assert (await gateway.caller(key.key)) is not None
        if later_role is not None:
            async with gateway.until_broadcast():
                await update(bus, user, role=later_role)
        caller = await gateway.caller(key.key)
        assert caller is not None
        assert caller.role is effective
    # Other tests need Root as the only active admin.
    await update(bus, user, role=Role.VIEWER)


async def test_key_cannot_exceed_its_account(bus: Bus) -> None:
    """Proves R-AUTH-28: a key cannot have a higher role than its account; only admins manage keys of other accounts."""
    _, me = await user_and_caller(bus)
    other, _ = await user_and_caller(bus)
    for field, fields in (("role", {"role": Role.ADMIN}), ("user_id", {"user_id": other.id})):
        with pytest.raises(Forbidden) as refusal:
            await create_key(bus, me, **fields)
        assert refusal.value.field == field
    with pytest.raises(Forbidden):
        await list_keys(bus, me, user_id=other.id)
    admin = await admin_caller(bus)
    key = await create_key(bus, admin, user_id=other.id)
    assert key.role is Role.EDITOR
    with pytest.raises(NotFound):
        await end_key(bus, me, key)
    assert [each.id for each in await list_keys(bus, admin, user_id=other.id)] == [key.id]
    await end_key(bus, admin, key)
    with pytest.raises(NotFound):
        await end_key(bus, admin, key)
    with pytest.raises(NotFound):
        await create_key(bus, admin, user_id="nobody")


async def end(bus: Bus, user: User, me: Caller, key: NewApiKey) -> None:
    await end_key(bus, me, key)


async def disable(bus: Bus, user: User, me: Caller, key: NewApiKey) -> None:
    await update(bus, user, disabled=True)


async def delete(bus: Bus, user: User, me: Caller, key: NewApiKey) -> None:
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))


@pytest.mark.parametrize("act", [end, disable, delete])
async def test_ended_key_is_refused_at_once(bus: Bus, act: Any) -> None:
    """Proves R-AUTH-27: a key is refused at once after its end, or after its account is disabled or deleted.

    A gateway that has cached the key refuses the key, and so does a gateway that starts later.
    """
    user, me = await user_and_caller(bus)
    key, other = await create_key(bus, me), await create_key(bus, (await user_and_caller(bus))[1])
    async with started(bus) as gateway:
        used = await gateway.caller(key.key)
        assert used is not None
        async with gateway.until_broadcast():
            await act(bus, user, me, key)
        # The gateway closes the connections of callers for which `revoked` returns True.
        assert gateway.revocations.revoked(used)
        async with started(bus) as later:
            for each in (gateway, later):
                assert await each.caller(key.key) is None
                assert await each.caller(other.key) is not None
                assert each.revocations.revoked(used)


async def test_account_revocation_is_listed_while_a_key_has_not_expired(
    bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-27: a revocation of an account with an API key is listed after the access tokens have expired."""
    user, me = await user_and_caller(bus)
    key = await create_key(bus, me)
    async with started(bus) as gateway:
        used = await gateway.caller(key.key)
    assert used is not None
    await tables.execute(
        "UPDATE session SET access_until = now() - interval '1 h' WHERE account_id = $1", user.id
    )
    await update(bus, user, disabled=True)
    async with started(bus) as later:
        assert later.revocations.revoked(used)


async def test_restored_account_gets_its_keys_back(bus: Bus) -> None:
    """Proves R-AUTH-27: deleting an account suspends its keys, and restoring it makes them valid again.

    A changed password does not affect the keys.
    """
    user, me = await user_and_caller(bus)
    key = await create_key(bus, me)
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
    await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))
    signed_in: Tokens = await login(bus, user.username)
    await change(bus, signed_in)
    async with started(bus) as gateway:
        assert await gateway.caller(key.key) is not None


async def test_expired_key_is_refused_and_not_listed(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-27: an expired key is refused and not listed. Texts that are not keys are refused too."""
    _, me = await user_and_caller(bus)
    key = await create_key(bus, me)
    await tables.execute("UPDATE api_key SET expires_at = now() WHERE id = $1", key.id)
    assert await list_keys(bus, me) == []
    for text in (key.key, f"{key.key}x", "svgx_", "svgx_" + "x" * 5000):
        async with started(bus) as gateway:
            assert await gateway.caller(text) is None


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (LOGOUT, {}),
        (END_SESSION, {"session_id": "s"}),
        (CHANGE_PASSWORD, {"old_password": PASSWORD, "new_password": NEW}),
        (CREATE_API_KEY, {"name": "another"}),
        (END_API_KEY, {"key_id": "k"}),
        (
            CREATE_USER,
            {"username": "x", "email": "x@example.org", "password": NEW, "role": Role.ADMIN},
        ),
        (UPDATE_USER, {"user_id": "u", "password": NEW}),
        (DELETE_USER, {"user_id": "u"}),
        (RESTORE_USER, {"user_id": "u"}),
    ],
)
async def test_stolen_key_cannot_take_over_the_account(
    bus: Bus, operation: Operation[Any, Any], fields: dict[str, Any]
) -> None:
    """Proves R-AUTH-28: operations that could take over an account refuse an API key."""
    user, _ = await user_and_caller(bus, Role.ADMIN)
    key_caller = Caller(user.id, user.username, Role.ADMIN, "k", 0, by_key=True)
    with pytest.raises(Forbidden, match="an API key does not allow this"):
        await bus.ask(operation, operation.request(**fields), caller=key_caller)
    # Other tests need Root as the only active admin.
    await update(bus, user, role=Role.VIEWER)


async def test_account_has_at_most_50_live_keys(bus: Bus) -> None:
    """Proves R-AUTH-37: an account has at most 50 live keys, even after 55 requests at the same time.

    The pages list each key once, newest first. The audit log contains the creation and the end of each key.
    """
    user, me = await user_and_caller(bus)
    answers = await asyncio.gather(
        *(create_key(bus, me) for _ in range(55)), return_exceptions=True
    )
    created = [answer for answer in answers if isinstance(answer, NewApiKey)]
    assert len(created) == 50
    assert sum(isinstance(answer, Conflict) for answer in answers) == 5
    pages = all_pages(
        lambda cursor: bus.ask(
            LIST_API_KEYS, ListApiKeysRequest(limit=20, cursor=cursor), caller=me
        )
    )
    found = [key async for page in pages for key in page.items]
    assert sorted(key.id for key in found) == sorted(key.id for key in created)
    assert [key.created_at for key in found] == sorted(
        (key.created_at for key in found), reverse=True
    )
    await end_key(bus, me, created[0])
    await create_key(bus, me)
    log = await bus.ask(LIST_AUDIT, ListAuditRequest(user_id=user.id, limit=200))
    events = [entry.event for entry in log.items]
    assert events.count(AuditEvent.API_KEY_CREATED) == 51
    assert events.count(AuditEvent.API_KEY_ENDED) == 1


async def test_at_most_100_keys_a_day_are_created(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-37: at most 100 keys a day are created for an account, by its owner or an admin.

    Ended keys count, too. The next day, more keys can be created.
    """
    user, me = await user_and_caller(bus)
    await tables.execute(
        "INSERT INTO api_key (id, account_id, name, prefix, hash, role, created_at, expires_at, ended_at)"
        " SELECT $1 || n, $1, 'n', 'p', sha256(convert_to($1 || n, 'UTF8')), 'viewer',"
        " now() - interval '23 h', now() + interval '1 y', now() FROM generate_series(1, 99) n",
        user.id,
    )
    await end_key(bus, me, await create_key(bus, me))
    for by, fields in ((me, {}), (await admin_caller(bus), {"user_id": user.id})):
        with pytest.raises(TooManyRequests, match="100 keys a day") as error:
            await create_key(bus, by, **fields)
        assert error.value.limit == 100
        assert error.value.retry_after is not None
        assert 3500 < error.value.retry_after <= 3600
    await tables.execute(
        "UPDATE api_key SET created_at = created_at - interval '1 h' WHERE account_id = $1", user.id
    )
    await create_key(bus, me)


async def test_revocation_of_an_ended_key_lasts_a_day(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-37: the revocation of a key lasts a day, or until the key would have expired if that is earlier.

    The list and the broadcast of revocations state this time.
    """
    _, me = await user_and_caller(bus)
    long, short = (
        await create_key(bus, me, expires_in_days=366),
        await create_key(bus, me, expires_in_days=1),
    )
    await tables.execute(
        "UPDATE api_key SET expires_at = now() + interval '1 h' WHERE id = $1", short.id
    )
    async with started(bus) as gateway:
        for key, hours in ((long, 24), (short, 1)):
            await end_key(bus, me, key)
            until = (await listed_revocations(bus))[key.id]
            assert hours * 3600 - 60 < until - time.time() <= hours * 3600
            while key.id not in gateway.revocations._sessions:
                await bus.settle()
            assert gateway.revocations._sessions[key.id] == until
    await tables.execute(
        "UPDATE api_key SET ended_at = ended_at - interval '24 h 2 min' WHERE id = $1", long.id
    )
    assert long.id not in await listed_revocations(bus)
    assert short.id in await listed_revocations(bus)


async def listed_revocations(bus: Bus) -> dict[str | None, float]:
    """Return, by session or key id, the Unix time until which each listed revocation lasts."""
    revocations = await bus.ask(LIST_REVOCATIONS, ListRevocationsRequest())
    return {each.session_id: each.until for each in revocations.items}


async def test_old_keys_are_removed_after_a_week(
    bus: Bus, tables: Tables, backing: DevStack
) -> None:
    """Proves R-AUTH-37: keys that ended or expired more than a week ago are removed, and no others."""
    _, me = await user_and_caller(bus)
    keys = [await create_key(bus, me) for _ in range(4)]
    for key, column, days in zip(
        keys, ("ended_at", "expires_at", "ended_at", "expires_at"), (8, 8, 6, 6), strict=True
    ):
        await tables.execute(
            f"UPDATE api_key SET {column} = now() - make_interval(days => $2) WHERE id = $1",
            key.id,
            days,
        )
    async with postgres.connect(
        backing.postgres_url, schema="auth", package="svgx_auth", pool_size=1
    ) as database:
        await ApiKeys(database, Revocations(database, bus), Audit(database)).remove_old()
    left = await tables.fetch(
        "SELECT id FROM api_key WHERE account_id = $1 ORDER BY created_at", me.user_id
    )
    assert [row["id"] for row in left] == [key.id for key in keys[2:]]


async def test_gateway_caches_key_checks(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AUTH-29: a gateway caches a valid key for `FRESH_SECONDS`, and a refusal for `REFUSED_SECONDS`.

    While auth is unavailable, the last answer is used for `STALE_SECONDS`.
    """
    _, me = await user_and_caller(bus)
    key = await create_key(bus, me)
    requests = 0
    unavailable = False
    ask = bus.ask

    async def counting_ask(operation: Any, request: Any, **options: Any) -> Any:
        nonlocal requests
        if operation is CHECK_API_KEY:
            requests += 1
            if unavailable:
                # No collab service runs here, so the request has no responder.
                return await bus.request(OPEN.subject, b"", timeout=5)
        return await ask(operation, request, **options)

    monkeypatch.setattr(bus, "ask", counting_ask)
    async with started(bus) as gateway:
        for _ in range(3):
            assert await gateway.caller(key.key) is not None
            assert await gateway.caller("svgx_unknown") is None
        assert requests == 2
        monkeypatch.setattr(api_keys, "FRESH_SECONDS", 0.0)
        assert await gateway.caller(key.key) is not None
        assert requests == 3
        unavailable = True
        assert await gateway.caller(key.key) is not None
        assert requests == 4
        monkeypatch.setattr(api_keys, "STALE_SECONDS", 0.0)
        with pytest.raises(Unavailable):
            await gateway.caller(key.key)


async def test_text_that_is_no_key_is_refused(bus: Bus) -> None:
    """Proves R-AUTH-27: a text that is not a key is refused, with the same error for every text."""
    for text in ("svgx_", "x", "'; --", "\N{BLACK STAR}"):
        with pytest.raises(Unauthenticated):
            await bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=text))
