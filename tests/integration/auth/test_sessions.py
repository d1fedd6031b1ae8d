"""Sessions are refreshed, listed and ended.

The grace is the time in which a spent refresh token still gets its successor (`svgx_auth.sessions.GRACE_SECONDS`).
"""

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
from svgx_common.contract.errors import Internal, Invalid, NotFound, Unauthenticated
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import CheckingKeys, secret_key
from svgx_devstack import DevStack
from tests.integration.auth.conftest import SECRET, Tables, replica
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.pages import all_pages
from tests.polling import pause

LAPTOP = Client("198.51.100.7", "laptop")


async def refresh(bus: Bus, token: str, client: Client | None = None) -> Tokens:
    return await bus.ask(REFRESH, RefreshRequest(refresh_token=token), client=client)


async def expect_refused_refresh(bus: Bus, token: str) -> None:
    with pytest.raises(Unauthenticated) as error:
        await refresh(bus, token)
    assert error.value.field == "refresh_token"


async def sessions(bus: Bus, of: Tokens) -> list[SessionInfo]:
    return (await bus.ask(LIST_SESSIONS, ListSessionsRequest(), caller=caller_of(of))).items


async def age_spent_tokens(tables: Tables, seconds: int) -> None:
    """Move the times at which refresh tokens were spent `seconds` into the past."""
    await tables.execute(
        "UPDATE refresh_token SET spent_at = spent_at - make_interval(secs => $1)", seconds
    )


@pytest.mark.parametrize("change", ["expires_at = now()", "ended_at = now()", "idle_until = now()"])
async def test_ended_session_cannot_be_refreshed(bus: Bus, tables: Tables, change: str) -> None:
    """Proves R-AUTH-6: a refresh token is valid only while its session is live."""
    signed_in = await login(bus, (await create(bus)).username)
    await tables.execute(f"UPDATE session SET {change} WHERE account_id = $1", signed_in.user.id)
    await expect_refused_refresh(bus, signed_in.refresh_token)


async def test_refused_refresh_does_not_spend_the_token(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-6: a token that is refused while its account is disabled is valid when the account is enabled."""
    signed_in = await login(bus, (await create(bus)).username)
    set_disabled = "UPDATE account SET disabled_at = {} WHERE id = $1"
    await tables.execute(set_disabled.format("now()"), signed_in.user.id)
    await expect_refused_refresh(bus, signed_in.refresh_token)
    await tables.execute(set_disabled.format("NULL"), signed_in.user.id)
    await refresh(bus, signed_in.refresh_token)


async def test_each_refresh_continues_the_session(bus: Bus) -> None:
    """Proves R-AUTH-6: each refresh returns a new token of the same session."""
    signed_in = await login(bus, (await create(bus)).username)
    token, session_id = signed_in.refresh_token, caller_of(signed_in).session_id
    seen = {token}
    for _ in range(5):
        renewed = await refresh(bus, token)
        token = renewed.refresh_token
        assert token not in seen
        assert caller_of(renewed).session_id == session_id
        seen.add(token)


async def test_fifty_simultaneous_refreshes_get_one_successor(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-10: 50 refreshes of one token at the same time, on two replicas, get the same successor."""
    signed_in = await login(bus, (await create(bus)).username)
    async with replica(backing):
        answers = await asyncio.gather(*(refresh(bus, signed_in.refresh_token) for _ in range(50)))
    assert len({answer.refresh_token for answer in answers}) == 1
    assert len({answer.access_token for answer in answers}) == 50
    assert answers[0].refresh_token != signed_in.refresh_token
    await refresh(bus, answers[0].refresh_token)


async def test_spent_token_ends_its_session_after_the_grace(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-11: after the grace, the use of a spent token ends its session, and no other session."""
    user = await create(bus)
    signed_in, elsewhere = await login(bus, user.username), await login(bus, user.username)
    newest = await refresh(bus, signed_in.refresh_token)
    await age_spent_tokens(tables, 31)
    await expect_refused_refresh(bus, signed_in.refresh_token)
    await expect_refused_refresh(bus, newest.refresh_token)
    await refresh(bus, elsewhere.refresh_token)
    reason = await tables.fetchval(
        "SELECT end_reason FROM session WHERE id = $1", caller_of(signed_in).session_id
    )
    assert reason == "reuse"


async def test_spent_token_gets_the_same_successor_within_the_grace(
    bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-10: within the grace, a spent token gets the same successor again."""
    signed_in = await login(bus, (await create(bus)).username)
    first = await refresh(bus, signed_in.refresh_token)
    await age_spent_tokens(tables, 20)
    again = await refresh(bus, signed_in.refresh_token)
    assert again.refresh_token == first.refresh_token


async def test_token_with_a_spent_successor_ends_the_session(bus: Bus) -> None:
    """Proves R-AUTH-11: the use of a token with a spent successor ends the session, even within the grace."""
    first = await login(bus, (await create(bus)).username)
    second = await refresh(bus, first.refresh_token)
    third = await refresh(bus, second.refresh_token)
    await expect_refused_refresh(bus, first.refresh_token)
    await expect_refused_refresh(bus, third.refresh_token)


async def test_changed_secret_ends_no_session(backing: DevStack, bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-45: after the server's secret has changed, the reuse of a token is refused, but ends no session."""
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
    await expect_refused_refresh(bus, signed_in.refresh_token)
    assert len(await sessions(bus, newest)) == 1


async def test_no_token_outlives_its_session(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-12: refreshing does not extend a session, and no access token expires after its session."""
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


async def test_idle_session_ends(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-12: a session without a refresh ends after the idle time, and each refresh extends that time.

    A session that ended in this way is not listed, and cannot be ended.
    """
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
    await expect_refused_refresh(bus, unused.refresh_token)
    assert [each.id for each in await sessions(bus, renewed)] == [caller_of(renewed).session_id]
    request = EndSessionRequest(session_id=caller_of(unused).session_id)
    with pytest.raises(NotFound):
        await bus.ask(END_SESSION, request, caller=caller_of(renewed))


async def test_session_pages_have_the_callers_live_sessions(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-13: the pages have the caller's live sessions, newest first, each with its most recent client."""
    user = await create(bus)
    opened = [await login(bus, user.username) for _ in range(3)]
    await login(bus, (await create(bus)).username)
    await refresh(bus, opened[1].refresh_token, LAPTOP)
    await tables.execute(
        "UPDATE session SET expires_at = now() WHERE id = $1", caller_of(opened[0]).session_id
    )
    caller = caller_of(opened[2])
    pages = all_pages(
        lambda cursor: bus.ask(
            LIST_SESSIONS, ListSessionsRequest(limit=1, cursor=cursor), caller=caller
        )
    )
    found = [session async for page in pages for session in page.items]
    expected = [caller_of(each).session_id for each in reversed(opened[1:])]
    assert [each.id for each in found] == expected
    assert [each.current for each in found] == [True, False]
    assert (found[1].address, found[1].user_agent) == (LAPTOP.address, LAPTOP.user_agent)
    assert found[1].last_used_at > found[1].created_at
    with pytest.raises(Invalid, match="cursor"):
        await bus.ask(LIST_SESSIONS, ListSessionsRequest(cursor="x"), caller=caller)


async def test_log_out_ends_only_the_callers_session(bus: Bus) -> None:
    """Proves R-AUTH-13: logging out ends the caller's session only, and logging out twice is no error."""
    user = await create(bus)
    signed_in, elsewhere = await login(bus, user.username), await login(bus, user.username)
    for _ in range(2):
        await bus.ask(LOGOUT, LogoutRequest(), caller=caller_of(signed_in))
    await expect_refused_refresh(bus, signed_in.refresh_token)
    assert [each.id for each in await sessions(bus, elsewhere)] == [caller_of(elsewhere).session_id]


async def test_caller_can_end_only_own_sessions(bus: Bus) -> None:
    """Proves R-AUTH-13: a caller can end the sessions of the caller's account, and no others."""
    user = await create(bus)
    signed_in, lost = await login(bus, user.username), await login(bus, user.username)
    stranger = await login(bus, (await create(bus)).username)
    request = EndSessionRequest(session_id=caller_of(lost).session_id)
    with pytest.raises(NotFound):
        await bus.ask(END_SESSION, request, caller=caller_of(stranger))
    await bus.ask(END_SESSION, request, caller=caller_of(signed_in))
    with pytest.raises(NotFound):
        await bus.ask(END_SESSION, request, caller=caller_of(signed_in))
    await expect_refused_refresh(bus, lost.refresh_token)
    await refresh(bus, signed_in.refresh_token)


async def test_old_sessions_are_removed_after_a_week(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-13: at its start, a replica removes sessions that ended or expired over a week ago.

    Their tokens are removed, too. A session that ended yesterday is kept.
    """
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
                await pause()
    tokens = await tables.fetch(
        "SELECT DISTINCT session_id FROM refresh_token WHERE session_id = ANY($1)", ids
    )
    assert {row["session_id"] for row in tokens} == set(ids[2:])
    await refresh(bus, opened[3].refresh_token)


async def test_each_log_in_opens_its_own_session(bus: Bus) -> None:
    """Proves R-AUTH-13: each log-in opens a session with its own tokens, and the client chooses none of them."""
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


async def test_log_in_without_a_signature_opens_no_session(
    bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-21: if no access token can be signed, a log-in opens no session and leaves no entry of a log-in."""
    user = await create(bus)

    def fail(*_: object) -> str:
        raise ValueError("the key cannot sign")

    monkeypatch.setattr(tokens, "sign", fail)
    with pytest.raises(Internal):
        await login(bus, user.username)
    assert await tables.fetchval("SELECT count(*) FROM session WHERE account_id = $1", user.id) == 0
    query = "SELECT count(*) FROM audit WHERE user_id = $1 AND event = 'log_in'"
    assert await tables.fetchval(query, user.id) == 0
