"""Names that look alike count as the same name. Names and passwords from before this rule stay valid."""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher

import svgx_auth
from svgx_common.contract.auth import (
    LIST_USERS,
    UPDATE_USER,
    ListUsersRequest,
    UpdateUserRequest,
    User,
)
from svgx_common.contract.errors import Conflict, Invalid, InvalidCredentials
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica
from tests.integration.auth.test_accounts import PASSWORD, create, login

MIGRATIONS = Path(svgx_auth.__file__).parent / "sql" / "migrations"

HASH = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(PASSWORD)

ALIKE: dict[str, Callable[[str], str]] = {
    "case": str.upper,
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "wide": lambda name: "".join(
        chr(ord(each) + 0xFEE0) if "a" <= each <= "z" else each for each in name
    ),
}
INVISIBLE = {
    "zero-width space": "\u200b{}",
    "soft hyphen": "é{}\u00adx",
    "override": "\u202e{}",
    "word joiner": "{}\u2060",
}


@pytest.fixture(autouse=True)
async def no_failed_log_ins(tables: Tables) -> None:
    """Delete the failed log-ins of other tests, because they delay further log-ins."""
    await tables.execute("DELETE FROM attempt")


def new_name() -> str:
    return f"élo-{secrets.token_hex(4)}"


async def insert_old_account(
    tables: Tables, username: str, email: str, password_hash: str = HASH
) -> str:
    """Insert an account as an earlier version of the service did, and return its id.

    The account has no rows in `account_name`, because that version did not store the keys of names.
    """
    account_id = secrets.token_hex(8)
    await tables.execute(
        "INSERT INTO account (id, username, email, password_hash, role) VALUES ($1, $2, $3, $4, 'viewer')",
        account_id, username, email, password_hash,
    )  # fmt: skip
    return account_id


async def rename(
    bus: Bus, user: User, *, username: str | None = None, email: str | None = None
) -> User:
    request = UpdateUserRequest(user_id=user.id, username=username, email=email)
    return await bus.ask(UPDATE_USER, request)


@pytest.mark.parametrize("alike", ALIKE.values(), ids=ALIKE)
async def test_name_that_looks_like_another_is_refused(
    bus: Bus, alike: Callable[[str], str]
) -> None:
    """Proves R-AUTH-8 and R-AUTH-41: a new or changed name that looks like another account's name is refused.

    The account can also log in with the similar name.
    """
    name, other = new_name(), await create(bus)
    user = await create(bus, name, f"{name}@example.org")
    twin = alike(name)
    assert twin != name
    for username, email, field in (
        (twin, "", "username"),
        (new_name(), f"{twin}@example.org", "email"),
        (f"{twin}@example.org", "", "username"),
    ):
        with pytest.raises(Conflict) as refusal:
            await create(bus, username, email or f"{secrets.token_hex(4)}@example.org")
        assert refusal.value.field == field
    for change, field in (
        ({"username": twin}, "username"),
        ({"email": f"{twin}@example.org"}, "email"),
    ):
        with pytest.raises(Conflict) as refusal:
            await rename(bus, other, **change)
        assert refusal.value.field == field
    assert (await login(bus, twin)).user == user
    assert (await login(bus, f"{twin}@example.org")).user == user


@pytest.mark.parametrize("form", INVISIBLE.values(), ids=INVISIBLE)
@pytest.mark.parametrize("field", ["username", "email"])
async def test_name_with_an_invisible_character_is_refused(bus: Bus, form: str, field: str) -> None:
    """Proves R-AUTH-41: the error names the field, for a new and for a changed name."""
    user, name = await create(bus), form.format(new_name())
    address = f"{name if field == 'email' else new_name()}@example.org"
    with pytest.raises(Invalid) as refusal:
        await create(bus, name if field == "username" else new_name(), address)
    assert refusal.value.field == field
    change = (
        rename(bus, user, username=name)
        if field == "username"
        else rename(bus, user, email=address)
    )
    with pytest.raises(Invalid) as refusal:
        await change
    assert refusal.value.field == field


async def test_name_is_stored_in_its_canonical_form(bus: Bus) -> None:
    """Proves R-AUTH-41: the reply and the list have the name in its composed form.

    Upper-case and lower-case letters stay as they were entered.
    """
    name = f"E\u0301lo-{secrets.token_hex(4)}"
    user = await create(bus, name, f"{name}@Example.org")
    composed = unicodedata.normalize("NFC", name)
    assert (user.username, user.email) == (composed, f"{composed}@Example.org")
    renamed = await rename(bus, user, username=f"{name}-2")
    assert renamed.username == f"{composed}-2"
    for search in (name, composed):
        page = await bus.ask(LIST_USERS, ListUsersRequest(search=search))
        assert [each.id for each in page.items] == [user.id]
    await create(bus, composed, f"{secrets.token_hex(4)}@example.org")  # the old name is free again


@pytest.mark.parametrize(
    "form",
    ["ro\u00adot-{}", "\u202e{}", "{}\u200b", "e\u0301-{}", "ﬁ-{}", "👍{}"],
    ids=ascii,
)
async def test_account_with_an_old_name_can_log_in(
    backing: DevStack, bus: Bus, tables: Tables, form: str
) -> None:
    """Proves R-AUTH-41: an account from before this rule keeps its name, also after an update that repeats the name.

    No new name may look like this name.
    """
    name = form.format(secrets.token_hex(4))
    account_id = await insert_old_account(tables, name, f"{name}@example.org")
    assert (await login(bus, name)).user.id == account_id
    async with replica(backing):  # its start adds the keys of old names
        pass
    user = (await login(bus, name)).user
    assert user.username == name
    assert (await rename(bus, user, username=name, email=user.email)).username == name
    seen = "".join(
        each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf"
    )
    if "👍" not in seen:
        with pytest.raises(Conflict):
            await create(bus, seen)
    assert (await login(bus, name)).user.id == account_id


async def test_old_accounts_with_similar_names_all_log_in(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-41: the exact name selects among accounts that were created before this rule."""
    composed = new_name()
    names = [
        composed,
        unicodedata.normalize("NFD", composed),
        f"{composed}\u200b",
        f"\u202e{composed}",
    ]
    ids = [await insert_old_account(tables, name, f"{name}@example.org") for name in names]
    async with replica(backing):
        pass
    for name, account_id in zip(names, ids, strict=True):
        assert (await login(bus, name)).user.id == account_id
        assert (await login(bus, f"{name}@example.org")).user.id == account_id


async def test_old_name_that_looks_like_another_does_not_prevent_a_change_of_the_address(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-41: only a name that changes is compared with the names of other accounts."""
    name = new_name()
    for each in (name, f"{name}\u200b"):
        await insert_old_account(tables, each, f"{secrets.token_hex(4)}@example.org")
    async with replica(backing):
        pass
    user = (await login(bus, name)).user
    address = f"{new_name()}@example.org"
    assert (await rename(bus, user, email=address)).email == address


async def test_stored_key_with_a_joiner_is_computed_again(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-41: no new name may differ from a stored one only in a joiner, also after an upgrade."""
    tail = secrets.token_hex(4)
    stored = f"कन्\u200dया{tail}"
    account_id = await insert_old_account(tables, stored, f"{tail}@example.org")
    await tables.execute("INSERT INTO account_name VALUES ($1, $2, $2)", account_id, stored)
    await tables.execute((MIGRATIONS / "0016_keys_without_joiners.sql").read_text())
    assert (await login(bus, stored)).user.id == account_id
    async with replica(backing):
        pass
    for name in (f"कन्या{tail}", stored):
        with pytest.raises(Conflict):
            await create(bus, name)
    assert (await login(bus, stored)).user.username == stored


async def test_key_with_a_joiner_stored_after_the_migration_is_computed_again(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-41: during an update and after a rollback, an earlier version stores keys with joiners.

    The username and the address of the account are equal.
    """
    tail = secrets.token_hex(4)
    stored = f"कन्\u200dया{tail}@example.org"
    account_id = await insert_old_account(tables, stored, stored)
    await tables.execute("INSERT INTO account_name VALUES ($1, $2, $2)", account_id, stored)
    async with replica(backing):
        pass
    with pytest.raises(Conflict):
        await create(bus, f"new-{tail}", f"कन्या{tail}@example.org")


async def test_simultaneous_requests_with_similar_names_create_one_account(bus: Bus) -> None:
    """Proves R-AUTH-8: of simultaneous requests with names that look alike, one succeeds."""
    name = new_name()
    twins = [name, *(alike(name) for alike in ALIKE.values())]
    answers = await asyncio.gather(
        *(create(bus, twin, f"{secrets.token_hex(4)}@example.org") for twin in twins),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 3 + ["User"]


PHRASE = "Éloïse, seven teal lanterns"
TYPED = {
    "composed": PHRASE,
    "decomposed": unicodedata.normalize("NFD", PHRASE),
    "no-break spaces": PHRASE.replace(" ", "\u00a0"),
}


@pytest.mark.parametrize("chosen", TYPED.values(), ids=TYPED)
async def test_password_matches_in_every_composition_of_its_letters(
    bus: Bus, tables: Tables, chosen: str
) -> None:
    """Proves R-AUTH-42: a password matches in each Unicode composition of its letters, even if set before this rule."""
    user = await create(bus, password=chosen)
    old = await insert_old_account(
        tables,
        name := new_name(),
        f"{name}@e.org",
        PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(chosen),
    )
    assert (await login(bus, name, chosen)).user.id == old  # renews the hash
    for typed in TYPED.values():
        assert (await login(bus, user.username, typed)).user == user
        assert (await login(bus, name, typed)).user.id == old
    for wrong in (PHRASE.lower(), PHRASE.replace(" ", ""), PHRASE.replace("É", "E")):
        with pytest.raises(InvalidCredentials):
            await login(bus, user.username, wrong)


async def test_password_length_is_counted_in_the_canonical_form(bus: Bus) -> None:
    """Proves R-AUTH-14 and R-AUTH-42: a letter and its separate accent count as one character."""
    with pytest.raises(Invalid) as refusal:
        await create(bus, password="e\u0301a\u0300o\u0302u\u0308i\u0301a\u0308o\u0308u\u0301")
    assert (refusal.value.field, refusal.value.limit) == ("password", 12)
