"""The accounts of users that sign in at providers."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from svgx_auth.accounts import Account
from svgx_auth.administration import Administration
from svgx_auth.audit import SERVICE_ORIGIN, Audit, Origin
from svgx_auth.oidc.identities import Identities
from svgx_auth.oidc.settings import OidcProvider
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest, NewApiKey
from svgx_common.contract.audit import LIST_AUDIT, ListAuditRequest
from svgx_common.contract.auth import (
    DELETE_USER,
    GET_USER,
    UpdateUserRequest,
    User,
    UserRequest,
)
from svgx_common.contract.errors import Forbidden, Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_administration import demote_others, first_admin, update
from tests.integration.auth.test_api_keys import create_key, user_and_caller


class DeletingAdministration(Administration):
    """An administration in which each account is deleted right before its first change."""

    async def update(self, request: UpdateUserRequest, by: Origin) -> User:
        await self.delete(request.user_id, by)
        return await super().update(request, by)


@contextlib.asynccontextmanager
async def identities_of(
    backing: DevStack, bus: Bus, kind: type[Administration] = Administration
) -> AsyncIterator[Identities]:
    """Yield the `Identities` of auth, with a connection to its tables and this kind of administration."""
    passwords = Passwords(memory=19 * 1024, passes=2, lanes=1, workers=1)
    async with postgres.connect(
        backing.postgres_url, schema="auth", package="svgx_auth", pool_size=1
    ) as database:
        audit = Audit(database)
        administration = kind(database, passwords, Revocations(database, bus), audit)
        yield Identities(database, administration, audit)
    passwords.close()


@pytest.fixture
async def identities(backing: DevStack, bus: Bus) -> AsyncIterator[Identities]:
    """Yield the `Identities` of auth."""
    async with identities_of(backing, bus) as identities:
        yield identities


def provider(name: str) -> OidcProvider:
    return OidcProvider(name=name, issuer=f"https://{name}.example.org", client_id="svgx")


DEMANDING = OidcProvider(
    name="demanding",
    issuer="https://demanding.example.org",
    client_id="svgx",
    role_claim="groups",
    roles={"owners": Role.ADMIN, "drawers": Role.EDITOR},
    default_role=None,
)
"""A provider without a default role. Users in neither of its two groups get no role, and cannot sign in."""


async def is_valid(bus: Bus, key: NewApiKey) -> bool:
    """Return whether the service accepts the key."""
    try:
        await bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=key.key))
    except Unauthenticated:
        return False
    return True


async def create_key_of(bus: Bus, account: Account) -> NewApiKey:
    user = account.user
    return await create_key(bus, Caller(user.id, user.username, user.role, "s"))


async def expect_refused_sign_in(identities: Identities, subject: str) -> None:
    """Sign in with claims that give no role. Fail unless the sign-in is refused."""
    with pytest.raises(Forbidden):
        await identities.account(DEMANDING, {"sub": subject, "groups": ["cooks"]}, SERVICE_ORIGIN)


async def test_keys_are_refused_until_an_admin_gives_a_role(
    identities: Identities, bus: Bus
) -> None:
    """Proves R-AUTH-39: keys of an account that lost its role are refused until an admin gives it a role.

    Other changes by an admin do not make the keys valid. A first sign-in without a role is refused too.
    """
    subject = secrets.token_hex(4)
    await expect_refused_sign_in(identities, subject)
    account = await identities.account(
        DEMANDING, {"sub": subject, "groups": ["drawers"]}, SERVICE_ORIGIN
    )
    key = await create_key_of(bus, account)
    _, other_caller = await user_and_caller(bus)
    other = await create_key(bus, other_caller)
    for _ in range(2):
        await expect_refused_sign_in(identities, subject)
        await update(bus, account.user, disabled=False, username=f"robots-{subject}")
        assert not await is_valid(bus, key)
        assert await is_valid(bus, other)
    await update(bus, account.user, role=Role.EDITOR)
    assert await is_valid(bus, key)
    await bus.ask(DELETE_USER, UserRequest(user_id=account.user.id))
    await expect_refused_sign_in(identities, subject)


async def test_end_of_a_suspension_by_an_admin_is_recorded(
    identities: Identities, bus: Bus
) -> None:
    """The role is the same as before. Proves R-AUTH-21."""
    subject = secrets.token_hex(4)
    drawer = {"sub": subject, "groups": ["drawers"]}
    account = await identities.account(DEMANDING, drawer, SERVICE_ORIGIN)
    await expect_refused_sign_in(identities, subject)
    for _ in range(2):
        await update(bus, account.user, role=Role.VIEWER)
    log = await bus.ask(LIST_AUDIT, ListAuditRequest(user_id=account.user.id))
    ended = [each.detail for each in log.items if "suspension" in each.detail]
    assert ended == [{"from": "viewer", "to": "viewer", "suspension": "ended"}]


async def test_account_that_is_deleted_during_its_sign_in_is_refused(
    backing: DevStack, bus: Bus
) -> None:
    """The provider gives a new role while an admin deletes the account. Proves R-AUTH-34."""
    claims = {"sub": secrets.token_hex(4), "groups": ["drawers"]}
    async with identities_of(backing, bus, DeletingAdministration) as identities:
        await identities.account(DEMANDING, claims, SERVICE_ORIGIN)
        with pytest.raises(Forbidden):
            await identities.account(DEMANDING, {**claims, "groups": ["owners"]}, SERVICE_ORIGIN)


async def test_last_admin_keeps_role_and_keys(
    identities: Identities, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-39 and R-AUTH-16: the last admin's sign-in without a role is refused, but role and keys stay."""
    subject = secrets.token_hex(4)
    account = await identities.account(
        DEMANDING, {"sub": subject, "groups": ["owners"]}, SERVICE_ORIGIN
    )
    other_admin, key = await first_admin(bus), await create_key_of(bus, account)
    await demote_others(tables, account.user)
    try:
        await expect_refused_sign_in(identities, subject)
        assert await is_valid(bus, key)
        user = await bus.ask(GET_USER, UserRequest(user_id=account.user.id))
        assert user.role is Role.ADMIN
    finally:
        await update(bus, other_admin, role=Role.ADMIN)
    await expect_refused_sign_in(identities, subject)
    assert not await is_valid(bus, key)


@pytest.mark.parametrize(
    ("claims", "username"),
    [
        ({"preferred_username": "ceo@corp.example"}, "p-"),
        ({"preferred_username": "ceo\N{FULLWIDTH COMMERCIAL AT}corp.example"}, "p-"),
        ({"preferred_username": "ceo\N{SMALL COMMERCIAL AT}corp.example"}, "p-"),
        ({"preferred_username": "@ceo", "email": "@ceo", "email_verified": True}, "p-"),
        ({"preferred_username": "x-1@corp.example", "email": "x-1@corp.example"}, "p-"),
        (
            {
                "preferred_username": "ceo@corp.example",
                "email": "x-2@corp.example",
                "email_verified": True,
            },
            "x-2@corp.example",
        ),
        (
            {
                "preferred_username": "X-3@corp.example",
                "email": "x-3@corp.example",
                "email_verified": True,
            },
            "x-3@corp.example",
        ),
        ({"preferred_username": ["x"]}, "p-"),
        ({"preferred_username": "ro\N{SOFT HYPHEN}ot"}, "p-"),
        ({"preferred_username": "\N{RIGHT-TO-LEFT OVERRIDE}toor"}, "p-"),
        ({"preferred_username": "x\N{WORD JOINER}-4"}, "p-"),
        ({"preferred_username": "x 4"}, "p-"),
        ({"preferred_username": "ｘ-5"}, "x-5"),
        ({"preferred_username": "e\N{COMBINING ACUTE ACCENT}-6"}, "é-6"),
        ({"preferred_username": "ＲＯＯＴ"}, "p-"),
        ({"email": "x\N{ZERO WIDTH SPACE}@corp.example", "email_verified": True}, "p-"),
        ({"preferred_username": "x-4"}, "x-4"),
    ],
)
async def test_misleading_name_does_not_become_the_username(
    identities: Identities, claims: dict[str, Any], username: str
) -> None:
    """Proves R-AUTH-38: a name becomes the username only if it is valid, free, and not an unverified e-mail address."""
    account = await identities.account(
        provider("p"), {"sub": secrets.token_hex(4)} | claims, SERVICE_ORIGIN
    )
    assert account.user.username.startswith(username)
    assert ("@" in account.user.username) is ("@" in username)


async def test_same_subject_at_two_providers_has_two_accounts(identities: Identities) -> None:
    """Proves R-AUTH-30: an account is found by issuer and subject; name, address or subject alone do not match."""
    subject = secrets.token_hex(4)
    claims = {
        "sub": subject,
        "preferred_username": subject,
        "email": f"{subject}@example.org",
        "email_verified": True,
    }

    async def at(name: str, **changed: str) -> Account:
        return await identities.account(provider(name), claims | changed, SERVICE_ORIGIN)

    here, there = await at("here"), await at("there")
    assert here.user.id != there.user.id
    other = await at("here", sub=f"{subject}-2")
    assert other.user.id not in (here.user.id, there.user.id)
    for name, account in (("here", here), ("there", there)):
        again = await at(name, preferred_username="another", email="another@example.org")
        assert again.user.id == account.user.id
