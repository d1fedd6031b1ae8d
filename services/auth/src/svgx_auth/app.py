"""The composition root: everything the auth service is made of is built here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from pydantic import ValidationError

from svgx_auth.accounts import Accounts
from svgx_auth.administration import Administration
from svgx_auth.api_keys import ApiKeys
from svgx_auth.audit import Audit
from svgx_auth.handlers import Handlers
from svgx_auth.keys.signing import Signing
from svgx_auth.oidc.identities import Identities
from svgx_auth.oidc.sign_ins import SignIns
from svgx_auth.passwords.attempts import Attempts
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_auth.sessions import Sessions
from svgx_auth.settings import AuthSettings
from svgx_common import postgres
from svgx_common.background import repeat
from svgx_common.contract.auth import CreateUserRequest
from svgx_common.contract.errors import Conflict, Invalid
from svgx_common.contract.policy import Role
from svgx_common.runtime import Runtime, Service
from svgx_common.settings import MIN_SECRET

log = structlog.get_logger(__name__)

FORGET_EVERY = 600.0
"""Seconds between two removals of what is over."""


@contextlib.asynccontextmanager
async def build(runtime: Runtime[AuthSettings]) -> AsyncIterator[Service]:
    """Wire the service; the first start creates the admin."""
    settings = runtime.settings
    secret = settings.jwt_secret.get_secret_value()
    if len(secret.encode()) < MIN_SECRET:
        log.warning("JWT_SECRET is short: production needs more", bytes=MIN_SECRET)
    passwords = Passwords(
        memory=settings.argon2_memory_kib,
        passes=settings.argon2_passes,
        lanes=settings.argon2_lanes,
        workers=settings.password_workers,
    )
    with contextlib.closing(passwords):
        async with postgres.connect(
            settings.postgres_url,
            schema="auth",
            package="svgx_auth",
            pool_size=settings.database_connections,
        ) as database:
            revocations = Revocations(database, runtime.bus)
            audit = Audit(database)
            signing = Signing(secret, settings.jwt_keys_file)
            accounts = Accounts(database, passwords, revocations, audit)
            administration = Administration(database, passwords, revocations, audit)
            sessions = Sessions(
                database,
                revocations,
                audit,
                signing,
                secret=secret,
                access_seconds=settings.jwt_expires_in,
                session_seconds=settings.refresh_expires_in,
                idle_seconds=settings.refresh_idle_expires_in,
            )
            attempts = Attempts(database, secret)
            api_keys = ApiKeys(database, revocations, audit)
            sign_ins = SignIns(database, settings.oidc_providers, settings.public_url, secret)
            handlers = Handlers(
                accounts=accounts,
                administration=administration,
                sessions=sessions,
                revocations=revocations,
                passwords=passwords,
                attempts=attempts,
                audit=audit,
                signing=signing,
                api_keys=api_keys,
                sign_ins=sign_ins,
                identities=Identities(database, administration, audit),
            )
            handlers.register(runtime.responder)
            runtime.health.require("postgresql", database.check)
            runtime.health.describe("database_pool", database.usage)
            await _ensure_admin(accounts, settings)

            async def forget() -> None:
                await sessions.forget_old()
                await api_keys.forget_old()
                await attempts.forget_old()
                await sign_ins.forget_old()
                await asyncio.sleep(FORGET_EVERY)

            tasks = [
                asyncio.create_task(repeat("forget what is over", forget)),
                asyncio.create_task(repeat("look for new keys", signing.reload)),
            ]
            try:
                yield Service()
            finally:
                for task in tasks:
                    task.cancel()
                await sign_ins.close()


async def _ensure_admin(accounts: Accounts, settings: AuthSettings) -> None:
    if await accounts.has_admin():
        return
    try:
        admin = CreateUserRequest(
            username=settings.svgx_admin_username,
            email=settings.svgx_admin_email,
            password=settings.svgx_admin_password.get_secret_value(),
            role=Role.ADMIN,
        )
    except ValidationError as error:
        wrong = sorted({f"SVGX_ADMIN_{str(item['loc'][0]).upper()}" for item in error.errors()})
        log.warning("there is no admin: set these and start again", variables=wrong)
        return
    try:
        created = await accounts.create_first_admin(admin)
    except Invalid as refused:
        log.warning(
            "there is no admin: set these and start again",
            variables=[f"SVGX_ADMIN_{str(refused.field).upper()}"],
        )
        return
    except Conflict as taken:
        # Someone who is no admin has the name; whoever set it must decide what is meant.
        variable = f"SVGX_ADMIN_{str(taken.field).upper()}"
        log.warning(
            "there is no admin: another account has this; set another and start again",
            variables=[variable],
        )
        return
    if created is not None:
        log.info("created the first admin", username=created.username)
