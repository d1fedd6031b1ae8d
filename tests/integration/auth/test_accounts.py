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
from tests.integration.pages import all_pages

PASSWORD = "a password that is long enough"


async def login(
    bus: Bus, username: str, password: str = PASSWORD, client: Client | None = None
) -> Tokens:
    request = LoginRequest(username=username, password=password)
    return await bus.ask(LOGIN, request, client=client)


def caller_of(signed_in: Tokens) -> Caller:
    """Return the caller that the gateway reads from the access token."""
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


async def test_first_start_creates_the_admin(bus: Bus) -> None:
    """Proves R-AUTH-4: the first admin can log in with the username in any case, or with the email address."""
    for name in ("Root", "root", "ROOT@example.org"):
        signed_in = await login(bus, name, ADMIN_PASSWORD)
        assert (signed_in.user.username, signed_in.user.role) == ("Root", Role.ADMIN)


async def test_access_token_names_the_account_and_its_role(bus: Bus) -> None:
    """Proves R-AUTH-1: the access token names the account and its role."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    claims = tokens.verify(signed_in.access_token, CheckingKeys(secret_key(SECRET)))
    assert (claims.user_id, claims.username, claims.role) == (user.id, user.username, Role.EDITOR)
    assert claims.expires_at - claims.issued_at == signed_in.expires_in
    me = await bus.ask(ME, MeRequest(), caller=claims.caller())
    assert me == user


async def test_wrong_password_and_unknown_name_get_the_same_error(bus: Bus) -> None:
    """Proves R-AUTH-5: a wrong password and an unknown name get the same error."""
    user = await create(bus)
    errors = []
    for name, password in ((user.username, "wrong"), ("unknown", PASSWORD), ("unknown'; --", "x")):
        with pytest.raises(InvalidCredentials) as error:
            await login(bus, name, password)
        errors.append(error.value.body())
    assert errors[0] == errors[1] == errors[2]


async def test_disabled_account_cannot_log_in_or_refresh(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-5: a disabled account can neither log in nor refresh."""
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
    """Proves R-AUTH-7: the tables contain no password and no refresh token."""
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
        # PostgreSQL shows bytes in hexadecimal.
        assert secret.encode().hex() not in stored


@pytest.mark.parametrize("field", ["username", "email"])
async def test_taken_name_is_refused(bus: Bus, field: str) -> None:
    """Proves R-AUTH-8: a taken username or email address is refused, and the error names the field.

    A username cannot be another account's email address.
    """
    user = await create(bus)
    for taken in {getattr(user, field).upper(), user.email}:
        with pytest.raises(Conflict) as error:
            await create(bus, **({"email": "new@example.org"} | {field: taken}))
        assert error.value.field == field


async def test_username_may_be_the_accounts_own_email_address(bus: Bus) -> None:
    """Proves R-AUTH-8: an account's username may be its own email address, as in the operations guide."""
    address = f"{secrets.token_hex(4)}@example.com"
    await create(bus, username=address, email=address)
    assert (await login(bus, address)).user.email == address


@pytest.mark.parametrize(("first", "second"), [("ΟΔΟΣ", "οδοσ"), ("İx", "ix"), ("Ümit", "ümit")])
async def test_name_that_may_differ_only_in_case_causes_no_internal_error(
    bus: Bus, first: str, second: str
) -> None:
    """Proves R-AUTH-8: a name that PostgreSQL may take for a stored one is accepted, or refused with the field's name.

    The unique indexes use PostgreSQL's lower(), which differs from Python's for some letters, and depends on the locale
    that the operator chooses.
    """
    suffix = secrets.token_hex(4)
    await create(bus, first + suffix, f"{suffix}@example.org")
    (answer,) = await asyncio.gather(
        create(bus, second + suffix, f"{suffix}@example.com"), return_exceptions=True
    )
    assert isinstance(answer, User) or (isinstance(answer, Conflict) and answer.field == "username")


async def all_users(bus: Bus, *, search: str | None = None, limit: int) -> list[User]:
    """Return the accounts on all pages, in their order."""
    pages = all_pages(
        lambda cursor: bus.ask(
            LIST_USERS, ListUsersRequest(search=search, limit=limit, cursor=cursor)
        )
    )
    return [user async for page in pages for user in page.items]


async def test_account_pages_have_each_account_once(bus: Bus) -> None:
    """Proves R-AUTH-9: the pages have each account once, oldest first."""
    name = secrets.token_hex(6)
    made = [await create(bus, f"{name}-{number}") for number in range(5)]
    assert await all_users(bus, search=name, limit=2) == made
    # The list without a search also has accounts of other tests.
    everything = await all_users(bus, limit=40)
    assert [each for each in everything if each in made] == made
    assert len({each.id for each in everything}) == len(everything)
    times = [user.created_at for user in everything]
    assert times == sorted(times)


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


USER_ID = "7b1f3c52-9d3e-4f0a-8a55-0d3f6c1e2b4a"


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
        cursor_of(f"soon {USER_ID}"),
        cursor_of(f"+0 {USER_ID}"),
        cursor_of(f"0 {{{USER_ID}}}"),
        cursor_of(f"{'9' * 150} {USER_ID}"),
        cursor_of(f"-{'9' * 18} {USER_ID}"),
        cursor_of('["0001-01-01T00:00:00+23:59", "x"]'),
    ],
)
async def test_forged_cursor_is_refused(bus: Bus, cursor: str) -> None:
    """Proves R-AUTH-9: a cursor without the form of an issued cursor is refused."""
    with pytest.raises(Invalid) as error:
        await bus.ask(LIST_USERS, ListUsersRequest(cursor=cursor))
    assert error.value.field == "cursor"
