"""Log-in, refresh and accounts, over the bus."""

import asyncio
import base64
import secrets

import asyncpg
import pytest

from svgx_common.contract.auth import (
    CREATE_USER,
    LIST_USERS,
    LOGIN,
    ME,
    REFRESH,
    CreateUserRequest,
    ListUsersRequest,
    LoginRequest,
    MeRequest,
    RefreshRequest,
    Tokens,
    User,
)
from svgx_common.contract.errors import Conflict, Invalid, InvalidCredentials, Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller, Client
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import CheckingKeys, secret_key
from svgx_devstack import DevStack
from tests.integration.auth.conftest import ADMIN_PASSWORD, SECRET

PASSWORD = "a password that is long enough"


async def login(
    bus: Bus, username: str, password: str = PASSWORD, client: Client | None = None
) -> Tokens:
    request = LoginRequest(username=username, password=password)
    return await bus.ask(LOGIN, request, client=client)


def caller_of(signed_in: Tokens) -> Caller:
    """Whom the gateway finds in the access token."""
    return tokens.verify(signed_in.access_token, CheckingKeys(secret_key(SECRET))).caller()


async def create(
    bus: Bus,
    username: str = "",
    email: str = "",
    role: Role = Role.EDITOR,
    password: str = PASSWORD,
) -> User:
    name = username or f"user-{secrets.token_hex(4)}"
    request = CreateUserRequest(
        username=name, email=email or f"{name}@example.org", password=password, role=role
    )
    return await bus.ask(CREATE_USER, request)


async def test_the_first_start_makes_the_admin(bus: Bus) -> None:
    """Proves R-AUTH-4; names are compared without regard to case, and an address will do."""
    for name in ("Root", "root", "ROOT@example.org"):
        signed_in = await login(bus, name, ADMIN_PASSWORD)
        assert (signed_in.user.username, signed_in.user.role) == ("Root", Role.ADMIN)


async def test_the_access_token_says_who(bus: Bus) -> None:
    """Proves R-AUTH-1."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    claims = tokens.verify(signed_in.access_token, CheckingKeys(secret_key(SECRET)))
    assert (claims.user_id, claims.username, claims.role) == (user.id, user.username, Role.EDITOR)
    assert claims.expires_at - claims.issued_at == signed_in.expires_in
    me = await bus.ask(ME, MeRequest(), caller=claims.caller())
    assert me == user


async def test_wrong_and_unknown_are_told_alike(bus: Bus) -> None:
    """Proves R-AUTH-5."""
    user = await create(bus)
    refusals = []
    for name, password in ((user.username, "wrong"), ("nobody", PASSWORD), ("nobody'; --", "x")):
        with pytest.raises(InvalidCredentials) as refused:
            await login(bus, name, password)
        refusals.append(refused.value.body())
    assert refusals[0] == refusals[1] == refusals[2]


async def test_a_disabled_account_is_nobodys(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-5: neither log-in nor refresh."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    connection = await asyncpg.connect(backing.postgres_url)
    await connection.execute("UPDATE auth.account SET disabled_at = now() WHERE id = $1", user.id)
    await connection.close()
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    with pytest.raises(Unauthenticated):
        await bus.ask(REFRESH, RefreshRequest(refresh_token=signed_in.refresh_token))
    caller = Caller(user.id, user.username, user.role, "s")
    with pytest.raises(Unauthenticated):
        await bus.ask(ME, MeRequest(), caller=caller)


async def test_tokens_and_passwords_are_stored_as_hashes(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-7: nothing in the tables signs anybody in."""
    signed_in = await login(bus, (await create(bus)).username)
    first = signed_in.refresh_token
    newest = (await bus.ask(REFRESH, RefreshRequest(refresh_token=first))).refresh_token
    connection = await asyncpg.connect(backing.postgres_url)
    stored = ""
    for table in ("account", "session", "refresh_token"):
        rows = await connection.fetch(f"SELECT t::text FROM auth.{table} t")
        stored += "".join(row[0] for row in rows)
    await connection.close()
    assert signed_in.user.id in stored
    for secret in (PASSWORD, first, newest):
        assert secret not in stored
        # As PostgreSQL shows bytes.
        assert secret.encode().hex() not in stored


@pytest.mark.parametrize("field", ["username", "email"])
async def test_names_are_taken_once(bus: Bus, field: str) -> None:
    """Proves R-AUTH-8: the error names the field; nobody's username is somebody else's address."""
    user = await create(bus)
    for taken in {getattr(user, field).upper(), user.email}:
        with pytest.raises(Conflict) as refused:
            await create(bus, **({"email": "new@example.org"} | {field: taken}))
        assert refused.value.field == field


async def test_a_username_may_be_ones_own_address(bus: Bus) -> None:
    """Proves R-AUTH-8, as in the operations guide."""
    address = f"{secrets.token_hex(4)}@example.com"
    await create(bus, username=address, email=address)
    assert (await login(bus, address)).user.email == address


@pytest.mark.parametrize(("first", "second"), [("ΟΔΟΣ", "οδοσ"), ("İx", "ix"), ("Ümit", "ümit")])
async def test_the_database_decides_what_one_name_is(bus: Bus, first: str, second: str) -> None:
    """Proves R-AUTH-8: its lower case is not Python's for every letter, and its locale is the operator's choice."""
    suffix = secrets.token_hex(4)
    await create(bus, first + suffix, f"{suffix}@example.org")
    (answer,) = await asyncio.gather(
        create(bus, second + suffix, f"{suffix}@example.com"), return_exceptions=True
    )
    assert isinstance(answer, User) or (isinstance(answer, Conflict) and answer.field == "username")


async def test_accounts_come_in_pages(bus: Bus) -> None:
    """Proves R-AUTH-9: all of them, once, oldest first."""
    for _ in range(5):
        await create(bus)
    everybody = (await bus.ask(LIST_USERS, ListUsersRequest(limit=200))).items
    paged: list[User] = []
    cursor = None
    while True:
        page = await bus.ask(LIST_USERS, ListUsersRequest(limit=2, cursor=cursor))
        paged += page.items
        cursor = page.next
        if cursor is None:
            break
    assert paged == everybody
    assert [user.created_at for user in paged] == sorted(user.created_at for user in paged)


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


SOMEBODY = "7b1f3c52-9d3e-4f0a-8a55-0d3f6c1e2b4a"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "=" * 256,
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        cursor_of("0"),
        cursor_of("0 nobody"),
        cursor_of(f"soon {SOMEBODY}"),
        cursor_of(f"+0 {SOMEBODY}"),
        cursor_of(f"0 {{{SOMEBODY}}}"),
        cursor_of(f"{'9' * 150} {SOMEBODY}"),
        cursor_of(f"-{'9' * 18} {SOMEBODY}"),
        cursor_of('["0001-01-01T00:00:00+23:59", "x"]'),
    ],
)
async def test_a_cursor_of_somebody_elses_making(bus: Bus, cursor: str) -> None:
    """Proves R-AUTH-9."""
    with pytest.raises(Invalid) as refused:
        await bus.ask(LIST_USERS, ListUsersRequest(cursor=cursor))
    assert refused.value.field == "cursor"
