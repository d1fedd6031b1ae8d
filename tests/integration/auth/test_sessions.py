"""Sessions: refreshed, listed, ended, and refused."""

import asyncio
import secrets

import pytest

from svgx_common.contract.auth import (
    END_SESSION,
    LIST_SESSIONS,
    LOGOUT,
    REFRESH,
    EndSessionRequest,
    ListSessionsRequest,
    LoginRequest,
    LogoutRequest,
    RefreshRequest,
    SessionInfo,
    Tokens,
)
from svgx_common.contract.errors import Invalid, NotFound, Unauthenticated
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import CheckingKeys, secret_key
from svgx_devstack import DevStack
from tests.integration.auth.conftest import SECRET, Tables, replica
from tests.integration.auth.test_accounts import caller_of, create, login

LAPTOP = Client("198.51.100.7", "laptop")


async def refresh(bus: Bus, token: str, client: Client | None = None) -> Tokens:
    return await bus.ask(REFRESH, RefreshRequest(refresh_token=token), client=client)


async def refused(bus: Bus, token: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await refresh(bus, token)
    assert refusal.value.field == "refresh_token"


async def sessions(bus: Bus, of: Tokens) -> list[SessionInfo]:
    return (await bus.ask(LIST_SESSIONS, ListSessionsRequest(), caller=caller_of(of))).items


async def age(tables: Tables, seconds: int) -> None:
    """Every spent token was spent so much earlier."""
    await tables.execute(
        "UPDATE refresh_token SET spent_at = spent_at - make_interval(secs => $1)", seconds
    )


@pytest.mark.parametrize("change", ["expires_at = now()", "ended_at = now()", "idle_until = now()"])
async def test_an_ended_session_is_not_refreshed(bus: Bus, tables: Tables, change: str) -> None:
    """Proves R-AUTH-6: a token is good only while its session lives."""
    signed_in = await login(bus, (await create(bus)).username)
    await tables.execute(f"UPDATE session SET {change} WHERE account_id = $1", signed_in.user.id)
    await refused(bus, signed_in.refresh_token)


async def test_a_refused_refresh_spends_nothing(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-6: who is enabled again goes on with the token it has."""
    signed_in = await login(bus, (await create(bus)).username)
    set_disabled = "UPDATE account SET disabled_at = {} WHERE id = $1"
    await tables.execute(set_disabled.format("now()"), signed_in.user.id)
    await refused(bus, signed_in.refresh_token)
    await tables.execute(set_disabled.format("NULL"), signed_in.user.id)
    await refresh(bus, signed_in.refresh_token)


async def test_a_session_goes_on(bus: Bus) -> None:
    """Proves R-AUTH-6: from token to token, each another one."""
    signed_in = await login(bus, (await create(bus)).username)
    token, session_id = signed_in.refresh_token, caller_of(signed_in).session_id
    seen = {token}
    for _ in range(5):
        renewed = await refresh(bus, token)
        token = renewed.refresh_token
        assert token not in seen
        assert caller_of(renewed).session_id == session_id
        seen.add(token)


async def test_fifty_refreshes_at_once_get_one_successor(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-10: of two replicas, and all of them stay signed in."""
    signed_in = await login(bus, (await create(bus)).username)
    async with replica(backing):
        answers = await asyncio.gather(*(refresh(bus, signed_in.refresh_token) for _ in range(50)))
    assert len({answer.refresh_token for answer in answers}) == 1
    assert len({answer.access_token for answer in answers}) == 50
    assert answers[0].refresh_token != signed_in.refresh_token
    await refresh(bus, answers[0].refresh_token)


async def test_a_spent_token_ends_its_session(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-11: past the grace, for the thief and for the owner, and for no other session."""
    user = await create(bus)
    signed_in, elsewhere = await login(bus, user.username), await login(bus, user.username)
    newest = await refresh(bus, signed_in.refresh_token)
    await age(tables, 31)
    await refused(bus, signed_in.refresh_token)
    await refused(bus, newest.refresh_token)
    await refresh(bus, elsewhere.refresh_token)
    reason = await tables.fetchval(
        "SELECT end_reason FROM session WHERE id = $1", caller_of(signed_in).session_id
    )
    assert reason == "reuse"


async def test_the_grace_lasts(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-10: up to its end."""
    signed_in = await login(bus, (await create(bus)).username)
    first = await refresh(bus, signed_in.refresh_token)
    await age(tables, 20)
    again = await refresh(bus, signed_in.refresh_token)
    assert again.refresh_token == first.refresh_token


async def test_the_grace_is_the_direct_predecessors(bus: Bus) -> None:
    """Proves R-AUTH-11: a token whose successor is spent too has no business any more, however recent."""
    first = await login(bus, (await create(bus)).username)
    second = await refresh(bus, first.refresh_token)
    third = await refresh(bus, second.refresh_token)
    await refused(bus, first.refresh_token)
    await refused(bus, third.refresh_token)


async def test_a_new_secret_is_no_theft(backing: DevStack, bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-10: the successor made with the old secret stays good."""
    signed_in = await login(bus, (await create(bus)).username)
    newest = await refresh(bus, signed_in.refresh_token)
    await tables.execute(
        "UPDATE refresh_token SET successor = $1 WHERE successor = ("
        "SELECT hash FROM refresh_token WHERE session_id = $2 AND spent_at IS NULL)",
        other := secrets.token_bytes(32),
        caller_of(newest).session_id,
    )
    await tables.execute(
        "UPDATE refresh_token SET hash = $1 WHERE session_id = $2 AND spent_at IS NULL",
        other,
        caller_of(newest).session_id,
    )
    await refused(bus, signed_in.refresh_token)
    assert len(await sessions(bus, newest)) == 1


async def test_no_token_outlives_its_session(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-12: refreshing does not move the session's end, and access ends with it."""
    signed_in = await login(bus, (await create(bus)).username)
    (ends,) = [each.expires_at for each in await sessions(bus, signed_in)]
    renewed = await refresh(bus, signed_in.refresh_token)
    assert [each.expires_at for each in await sessions(bus, renewed)] == [ends]
    await tables.execute(
        "UPDATE session SET expires_at = now() + interval '60 s' WHERE account_id = $1",
        signed_in.user.id,
    )
    last = await refresh(bus, renewed.refresh_token)
    claims = tokens.verify(last.access_token, CheckingKeys(secret_key(SECRET)))
    assert 50 <= last.expires_in == claims.expires_at - claims.issued_at <= 60


async def test_a_session_that_nobody_uses_ends(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-12: each refresh puts it off; what has ended so is not listed, and not ended again."""
    user = await create(bus)
    signed_in, unused = await login(bus, user.username), await login(bus, user.username)
    find = "SELECT idle_until - last_used_at FROM session WHERE id = $1"
    assert round((await tables.fetchval(find, caller_of(unused).session_id)).total_seconds()) == (
        14 * 86400
    )
    await tables.execute(
        "UPDATE session SET idle_until = now() + interval '1 min', last_used_at = now()"
        " - interval '13 d' WHERE account_id = $1",
        user.id,
    )
    renewed = await refresh(bus, signed_in.refresh_token)
    await tables.execute(
        "UPDATE session SET idle_until = idle_until - interval '1 min' WHERE account_id = $1",
        user.id,
    )
    await refused(bus, unused.refresh_token)
    assert [each.id for each in await sessions(bus, renewed)] == [caller_of(renewed).session_id]
    request = EndSessionRequest(session_id=caller_of(unused).session_id)
    with pytest.raises(NotFound):
        await bus.ask(END_SESSION, request, caller=caller_of(renewed))


async def test_my_sessions(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-13: mine alone, the living, in pages, newest first, with where they were used last."""
    user = await create(bus)
    opened = [await login(bus, user.username) for _ in range(3)]
    await login(bus, (await create(bus)).username)
    await refresh(bus, opened[1].refresh_token, LAPTOP)
    await tables.execute(
        "UPDATE session SET expires_at = now() WHERE id = $1", caller_of(opened[0]).session_id
    )
    caller = caller_of(opened[2])
    found, cursor = [], None
    while True:
        request = ListSessionsRequest(limit=1, cursor=cursor)
        page = await bus.ask(LIST_SESSIONS, request, caller=caller)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    expected = [caller_of(each).session_id for each in reversed(opened[1:])]
    assert [each.id for each in found] == expected
    assert [each.current for each in found] == [True, False]
    assert (found[1].address, found[1].user_agent) == (LAPTOP.address, LAPTOP.user_agent)
    assert found[1].last_used_at > found[1].created_at
    with pytest.raises(Invalid, match="cursor"):
        await bus.ask(LIST_SESSIONS, ListSessionsRequest(cursor="x"), caller=caller)


async def test_logging_out_ends_the_session(bus: Bus) -> None:
    """Proves R-AUTH-13: this one, and asking twice is no error."""
    user = await create(bus)
    signed_in, elsewhere = await login(bus, user.username), await login(bus, user.username)
    for _ in range(2):
        await bus.ask(LOGOUT, LogoutRequest(), caller=caller_of(signed_in))
    await refused(bus, signed_in.refresh_token)
    assert [each.id for each in await sessions(bus, elsewhere)] == [caller_of(elsewhere).session_id]


async def test_one_ends_ones_own_sessions(bus: Bus) -> None:
    """Proves R-AUTH-13: and nobody else's."""
    user = await create(bus)
    signed_in, lost = await login(bus, user.username), await login(bus, user.username)
    stranger = await login(bus, (await create(bus)).username)
    request = EndSessionRequest(session_id=caller_of(lost).session_id)
    with pytest.raises(NotFound):
        await bus.ask(END_SESSION, request, caller=caller_of(stranger))
    await bus.ask(END_SESSION, request, caller=caller_of(signed_in))
    with pytest.raises(NotFound):
        await bus.ask(END_SESSION, request, caller=caller_of(signed_in))
    await refused(bus, lost.refresh_token)
    await refresh(bus, signed_in.refresh_token)


async def test_what_has_been_over_for_long_is_forgotten(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-13: with its tokens, at the next start at the latest; what is over since yesterday is kept."""
    user = await create(bus)
    opened = [await login(bus, user.username) for _ in range(4)]
    ids = [caller_of(each).session_id for each in opened]
    for session_id, change in zip(
        ids, ("ended_at = now() - interval '8 days'", "expires_at = now() - interval '8 days'",
              "ended_at = now() - interval '1 day'"), strict=False
    ):  # fmt: skip
        await tables.execute(f"UPDATE session SET {change} WHERE id = $1", session_id)

    async def kept() -> set[str]:
        rows = await tables.fetch("SELECT id FROM session WHERE account_id = $1", user.id)
        return {row["id"] for row in rows}

    async with replica(backing):
        async with asyncio.timeout(10):
            while await kept() != set(ids[2:]):
                pass
    await refresh(bus, opened[3].refresh_token)


async def test_every_sign_in_is_a_session_of_its_own(bus: Bus) -> None:
    """Proves R-AUTH-13: with tokens of its own; nothing of it is chosen by who signs in."""
    user = await create(bus)
    opened = [await login(bus, user.username) for _ in range(3)]
    claims = [tokens.verify(each.access_token, CheckingKeys(secret_key(SECRET))) for each in opened]
    for values in (
        {each.session_id for each in claims},
        {each.token_id for each in claims},
        {each.access_token for each in opened},
        {each.refresh_token for each in opened},
    ):
        assert len(values) == 3
    assert LoginRequest.model_fields.keys() == {"username", "password"}
