"""API keys: made, used, ended, as a gateway sees it."""

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
from tests.integration.auth.test_administration import root, update
from tests.integration.auth.test_password_change import NEW, change
from tests.integration.auth.test_revocations import started


async def make(bus: Bus, by: Caller, **fields: Any) -> NewApiKey:
    request = CreateApiKeyRequest(**({"name": "robot"} | fields))
    return await bus.ask(CREATE_API_KEY, request, caller=by)


async def listed(bus: Bus, by: Caller, **fields: Any) -> list[ApiKeyInfo]:
    return (await bus.ask(LIST_API_KEYS, ListApiKeysRequest(**fields), caller=by)).items


async def end(bus: Bus, by: Caller, key: ApiKeyInfo) -> None:
    await bus.ask(END_API_KEY, EndApiKeyRequest(key_id=key.id), caller=by)


async def person(bus: Bus, role: Role = Role.EDITOR) -> tuple[User, Caller]:
    user = await create(bus, role=role)
    return user, caller_of(await login(bus, user.username))


async def the_admin(bus: Bus) -> Caller:
    admin = await root(bus)
    return Caller(admin.id, admin.username, Role.ADMIN, "s")


async def test_a_key_stands_for_its_account(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-27: told once, stored as a hash, and its use is seen."""
    user, me = await person(bus)
    key = await make(bus, me, name="the robot", expires_in_days=7)
    assert key.key.startswith(f"{key.prefix}_")
    assert 6.9 < (key.expires_at - key.created_at).total_seconds() / 86400 < 7.1
    async with started(bus) as gateway:
        caller = await gateway.caller(key.key)
    assert caller == Caller(user.id, user.username, Role.EDITOR, key.id, 0, by_key=True)
    (found,) = await listed(bus, me)
    assert found.last_used_at is not None
    assert found == ApiKeyInfo(
        **key.model_dump(exclude={"key", "last_used_at"}), last_used_at=found.last_used_at
    )
    secret = key.key.removeprefix(f"{key.prefix}_")
    for table in ("api_key", "audit"):
        rows = await tables.fetch(f"SELECT t::text FROM {table} t")
        assert secret not in "".join(row[0] for row in rows)


@pytest.mark.parametrize(
    ("own", "of_key", "later", "counts"),
    [
        (Role.ADMIN, None, None, Role.ADMIN),
        (Role.EDITOR, Role.VIEWER, None, Role.VIEWER),
        (Role.EDITOR, Role.VIEWER, Role.ADMIN, Role.VIEWER),
        (Role.EDITOR, Role.EDITOR, Role.VIEWER, Role.VIEWER),
    ],
)
async def test_a_key_may_do_the_least_of_both(
    bus: Bus, own: Role, of_key: Role | None, later: Role | None, counts: Role
) -> None:
    """Proves R-AUTH-28: what it was made for, and what its account may do now."""
    user, me = await person(bus, own)
    key = await make(bus, me, role=of_key)
    async with started(bus) as gateway:
        assert (await gateway.caller(key.key)) is not None
        if later is not None:
            gateway.news.clear()
            await update(bus, user, role=later)
            await gateway.news.wait()
        caller = await gateway.caller(key.key)
        assert caller is not None
        assert caller.role is counts
    await update(bus, user, role=Role.VIEWER)


async def test_a_key_is_not_made_for_more(bus: Bus) -> None:
    """Proves R-AUTH-28: nor for others, but by admins."""
    _, me = await person(bus)
    other, _ = await person(bus)
    for field, fields in (("role", {"role": Role.ADMIN}), ("user_id", {"user_id": other.id})):
        with pytest.raises(Forbidden) as refusal:
            await make(bus, me, **fields)
        assert refusal.value.field == field
    with pytest.raises(Forbidden):
        await listed(bus, me, user_id=other.id)
    admin = await the_admin(bus)
    key = await make(bus, admin, user_id=other.id)
    assert key.role is Role.EDITOR
    with pytest.raises(NotFound):
        await end(bus, me, key)
    assert [each.id for each in await listed(bus, admin, user_id=other.id)] == [key.id]
    await end(bus, admin, key)
    with pytest.raises(NotFound):
        await end(bus, admin, key)
    with pytest.raises(NotFound):
        await make(bus, admin, user_id="nobody")


async def ended(bus: Bus, user: User, me: Caller, key: NewApiKey) -> None:
    await end(bus, me, key)


async def disabled(bus: Bus, user: User, me: Caller, key: NewApiKey) -> None:
    await update(bus, user, disabled=True)


async def deleted(bus: Bus, user: User, me: Caller, key: NewApiKey) -> None:
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))


@pytest.mark.parametrize("act", [ended, disabled, deleted])
async def test_a_key_ends_at_once(bus: Bus, act: Any) -> None:
    """Proves R-AUTH-27: where it is in use, and on a gateway that starts later."""
    user, me = await person(bus)
    key, other = await make(bus, me), await make(bus, (await person(bus))[1])
    async with started(bus) as gateway:
        used = await gateway.caller(key.key)
        assert used is not None
        gateway.news.clear()
        await act(bus, user, me, key)
        async with asyncio.timeout(1):
            await gateway.news.wait()
        # By this, live connections are closed.
        assert gateway.revocations.revoked(used)
        async with started(bus) as later:
            for each in (gateway, later):
                assert await each.caller(key.key) is None
                assert await each.caller(other.key) is not None
                assert each.revocations.revoked(used)


async def test_a_key_outlives_the_tokens_of_its_account(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-27: what ends it is remembered as long as it would have lived."""
    user, me = await person(bus)
    key = await make(bus, me)
    async with started(bus) as gateway:
        used = await gateway.caller(key.key)
    assert used is not None
    await tables.execute(
        "UPDATE session SET access_until = now() - interval '1 h' WHERE account_id = $1", user.id
    )
    await update(bus, user, disabled=True)
    async with started(bus) as later:
        assert later.revocations.revoked(used)


async def test_keys_come_back_with_their_account(bus: Bus) -> None:
    """Proves R-AUTH-27: disabling and deleting suspends them; a changed password does not."""
    user, me = await person(bus)
    key = await make(bus, me)
    await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
    await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))
    signed_in: Tokens = await login(bus, user.username)
    await change(bus, signed_in)
    async with started(bus) as gateway:
        assert await gateway.caller(key.key) is not None


async def test_a_key_ends_at_its_time(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-27: and is not listed any more."""
    _, me = await person(bus)
    key = await make(bus, me)
    await tables.execute("UPDATE api_key SET expires_at = now() WHERE id = $1", key.id)
    assert await listed(bus, me) == []
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
async def test_a_stolen_key_does_not_take_the_account_over(
    bus: Bus, operation: Operation[Any, Any], fields: dict[str, Any]
) -> None:
    """Proves R-AUTH-28."""
    user, _ = await person(bus, Role.ADMIN)
    robot = Caller(user.id, user.username, Role.ADMIN, "k", 0, by_key=True)
    with pytest.raises(Forbidden, match="not with an API key"):
        await bus.ask(operation, operation.request(**fields), caller=robot)
    await update(bus, user, role=Role.VIEWER)


async def test_an_account_has_so_many_keys(bus: Bus) -> None:
    """Proves R-AUTH-27: also when they are made at once; in pages, newest first; and it is in the audit log."""
    user, me = await person(bus)
    answers = await asyncio.gather(*(make(bus, me) for _ in range(55)), return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, NewApiKey)]
    assert len(made) == 50
    assert sum(isinstance(answer, Conflict) for answer in answers) == 5
    found, cursor = [], None
    while True:
        request = ListApiKeysRequest(limit=20, cursor=cursor)
        page = await bus.ask(LIST_API_KEYS, request, caller=me)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert sorted(each.id for each in found) == sorted(each.id for each in made)
    assert [each.created_at for each in found] == sorted(
        (each.created_at for each in found), reverse=True
    )
    await end(bus, me, made[0])
    await make(bus, me)
    log = await bus.ask(LIST_AUDIT, ListAuditRequest(user_id=user.id, limit=200))
    events = [entry.event for entry in log.items]
    assert events.count(AuditEvent.API_KEY_CREATED) == 51
    assert events.count(AuditEvent.API_KEY_ENDED) == 1


async def test_so_many_keys_are_made_in_a_day(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-37: however many of them have ended, also by an admin; the next day there are more."""
    user, me = await person(bus)
    await tables.execute(
        "INSERT INTO api_key (id, account_id, name, prefix, hash, role, created_at, expires_at, ended_at)"
        " SELECT $1 || n, $1, 'n', 'p', sha256(convert_to($1 || n, 'UTF8')), 'viewer',"
        " now() - interval '23 h', now() + interval '1 y', now() FROM generate_series(1, 99) n",
        user.id,
    )
    await end(bus, me, await make(bus, me))
    for by, fields in ((me, {}), (await the_admin(bus), {"user_id": user.id})):
        with pytest.raises(TooManyRequests, match="100 keys a day") as refused:
            await make(bus, by, **fields)
        assert refused.value.limit == 100
        assert refused.value.retry_after is not None
        assert 3500 < refused.value.retry_after <= 3600
    await tables.execute(
        "UPDATE api_key SET created_at = created_at - interval '1 h' WHERE account_id = $1", user.id
    )
    await make(bus, me)


async def test_an_ended_key_is_told_for_a_day(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-37: to gateways that start, and in the broadcast; not as long as it would have lived."""
    _, me = await person(bus)
    long, short = await make(bus, me, expires_in_days=366), await make(bus, me, expires_in_days=1)
    await tables.execute(
        "UPDATE api_key SET expires_at = now() + interval '1 h' WHERE id = $1", short.id
    )
    async with started(bus) as gateway:
        for key, hours in ((long, 24), (short, 1)):
            await end(bus, me, key)
            until = (await told(bus))[key.id]
            assert hours * 3600 - 60 < until - time.time() <= hours * 3600
            while key.id not in gateway.revocations._sessions:
                await bus.settle()
            assert gateway.revocations._sessions[key.id] == until
    await tables.execute(
        "UPDATE api_key SET ended_at = ended_at - interval '24 h 2 min' WHERE id = $1", long.id
    )
    assert long.id not in await told(bus)
    assert short.id in await told(bus)


async def told(bus: Bus) -> dict[str | None, float]:
    """What a gateway that starts is told."""
    found = await bus.ask(LIST_REVOCATIONS, ListRevocationsRequest())
    return {each.session_id: each.until for each in found.items}


async def test_what_has_been_over_for_a_week_is_forgotten(
    bus: Bus, tables: Tables, backing: DevStack
) -> None:
    """Proves R-AUTH-37: keys that were ended and those that ended by themselves, and no others."""
    _, me = await person(bus)
    keys = [await make(bus, me) for _ in range(4)]
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
        await ApiKeys(database, Revocations(database, bus), Audit(database)).forget_old()
    left = await tables.fetch(
        "SELECT id FROM api_key WHERE account_id = $1 ORDER BY created_at", me.user_id
    )
    assert [row["id"] for row in left] == [key.id for key in keys[2:]]


async def test_auth_is_asked_now_and_then(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AUTH-29: once in a while for each key, good or bad; and while auth is away, the last answer counts."""
    _, me = await person(bus)
    key = await make(bus, me)
    asked = 0
    away = False
    ask = bus.ask

    async def counting(operation: Any, request: Any, **options: Any) -> Any:
        nonlocal asked
        if operation is CHECK_API_KEY:
            asked += 1
            if away:
                return await bus.request("svgx.auth.nobody_answers_this", b"", timeout=5)
        return await ask(operation, request, **options)

    monkeypatch.setattr(bus, "ask", counting)
    async with started(bus) as gateway:
        for _ in range(3):
            assert await gateway.caller(key.key) is not None
            assert await gateway.caller("svgx_unknown") is None
        assert asked == 2
        monkeypatch.setattr(api_keys, "FRESH", 0.0)
        assert await gateway.caller(key.key) is not None
        assert asked == 3
        away = True
        assert await gateway.caller(key.key) is not None
        assert asked == 4
        monkeypatch.setattr(api_keys, "STALE", 0.0)
        with pytest.raises(Unavailable):
            await gateway.caller(key.key)


async def test_only_what_was_made_is_a_key(bus: Bus) -> None:
    """Proves R-AUTH-27: one answer for all that is none."""
    for text in ("svgx_", "x", "'; --", "\N{BLACK STAR}"):
        with pytest.raises(Unauthenticated):
            await bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=text))
