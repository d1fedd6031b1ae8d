"""Whose account somebody at a provider is."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from svgx_auth.accounts import Account
from svgx_auth.administration import Administration
from svgx_auth.audit import SERVICE, Audit
from svgx_auth.oidc.identities import Identities
from svgx_auth.oidc.settings import OidcProvider
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.api_keys import CHECK_API_KEY, CheckApiKeyRequest, NewApiKey
from svgx_common.contract.auth import DELETE_USER, GET_USER, UserRequest
from svgx_common.contract.errors import Forbidden, Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_devstack import DevStack
from tests.integration.auth.test_administration import root, update
from tests.integration.auth.test_api_keys import make, person


@pytest.fixture
async def identities(backing: DevStack, bus: Bus) -> AsyncIterator[Identities]:
    """On the service's own tables."""
    passwords = Passwords(memory=19 * 1024, passes=2, lanes=1, workers=1)
    async with postgres.connect(
        backing.postgres_url, schema="auth", package="svgx_auth", pool_size=1
    ) as database:
        audit = Audit(database)
        revocations = Revocations(database, bus)
        administration = Administration(database, passwords, revocations, audit)
        yield Identities(database, administration, audit)
    passwords.close()


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


async def counts(bus: Bus, key: NewApiKey) -> bool:
    """Whether auth knows whom the key stands for."""
    try:
        await bus.ask(CHECK_API_KEY, CheckApiKeyRequest(key=key.key))
    except Unauthenticated:
        return False
    return True


async def with_key(bus: Bus, account: Account) -> NewApiKey:
    user = account.user
    return await make(bus, Caller(user.id, user.username, user.role, "s"))


async def refused(identities: Identities, subject: str) -> None:
    with pytest.raises(Forbidden):
        await identities.account(DEMANDING, {"sub": subject, "groups": ["cooks"]}, SERVICE)


async def test_an_admin_gives_a_role_back(identities: Identities, bus: Bus) -> None:
    """Proves R-AUTH-39: and nothing less does; nor is anybody made who never had one."""
    subject = secrets.token_hex(4)
    await refused(identities, subject)
    account = await identities.account(DEMANDING, {"sub": subject, "groups": ["drawers"]}, SERVICE)
    key, other = await with_key(bus, account), await make(bus, (await person(bus))[1])
    for _ in range(2):
        await refused(identities, subject)
        await update(bus, account.user, disabled=False, username=f"robots-{subject}")
        assert not await counts(bus, key)
        assert await counts(bus, other)
    await update(bus, account.user, role=Role.EDITOR)
    assert await counts(bus, key)
    await bus.ask(DELETE_USER, UserRequest(user_id=account.user.id))
    await refused(identities, subject)


async def test_the_last_admin_keeps_what_he_has(identities: Identities, bus: Bus) -> None:
    """Proves R-AUTH-39 and R-AUTH-16: refused he is all the same."""
    subject = secrets.token_hex(4)
    account = await identities.account(DEMANDING, {"sub": subject, "groups": ["owners"]}, SERVICE)
    first, key = await root(bus), await with_key(bus, account)
    await update(bus, first, role=Role.EDITOR)
    try:
        await refused(identities, subject)
        assert await counts(bus, key)
        still = await bus.ask(GET_USER, UserRequest(user_id=account.user.id))
        assert still.role is Role.ADMIN
    finally:
        await update(bus, first, role=Role.ADMIN)
    await refused(identities, subject)
    assert not await counts(bus, key)


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
        ({"preferred_username": "x-4"}, "x-4"),
    ],
)
async def test_a_name_is_no_address_that_nobody_has_verified(
    identities: Identities, claims: dict[str, Any], username: str
) -> None:
    """Proves R-AUTH-38."""
    account = await identities.account(
        provider("p"), {"sub": secrets.token_hex(4)} | claims, SERVICE
    )
    assert account.user.username.startswith(username)
    assert ("@" in account.user.username) is ("@" in username)


async def test_one_subject_at_two_providers_is_two_people(identities: Identities) -> None:
    """Proves R-AUTH-30: found by both; by the name, the address or the subject alone nobody is."""
    subject = secrets.token_hex(4)
    claims = {
        "sub": subject,
        "preferred_username": subject,
        "email": f"{subject}@example.org",
        "email_verified": True,
    }

    async def at(name: str, **changed: str) -> Account:
        return await identities.account(provider(name), claims | changed, SERVICE)

    here, there = await at("here"), await at("there")
    assert here.user.id != there.user.id
    other = await at("here", sub=f"{subject}-2")
    assert other.user.id not in (here.user.id, there.user.id)
    for name, account in (("here", here), ("there", there)):
        again = await at(name, preferred_username="another", email="another@example.org")
        assert again.user.id == account.user.id
