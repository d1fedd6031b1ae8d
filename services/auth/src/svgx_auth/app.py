"""The composition root: this module builds every part of the auth service and connects them."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from pydantic import ValidationError

from svgx_auth.account_names import AccountNames
from svgx_auth.accounts import Accounts
from svgx_auth.administration import Administration
from svgx_auth.api_keys import ApiKeys
from svgx_auth.audit import Audit
from svgx_auth.backups.handlers import AccountBackups
from svgx_auth.erasure.account_erasure import AccountErasure
from svgx_auth.events.relaying import relaying
from svgx_auth.handlers.administration import AdministrationHandlers
from svgx_auth.handlers.api_keys import ApiKeyHandlers
from svgx_auth.handlers.own_account import OwnAccountHandlers
from svgx_auth.handlers.sessions import SessionHandlers
from svgx_auth.handlers.sign_in import SignInHandlers
from svgx_auth.handlers.token_checks import TokenCheckHandlers
from svgx_auth.handlers.user_erasure import UserErasureHandlers
from svgx_auth.handlers.user_sessions import UserSessionHandlers
from svgx_auth.keys.signing import Signing
from svgx_auth.oidc.identities import Identities
from svgx_auth.oidc.sign_ins import SignIns
from svgx_auth.passwords.attempts import Attempts
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.passwords.home_networks import HomeNetworks
from svgx_auth.passwords.queue import PasswordQueue
from svgx_auth.revocations import Revocations
from svgx_auth.sessions import Sessions
from svgx_auth.settings import AuthSettings
from svgx_common import postgres
from svgx_common.background import BackgroundTasks
from svgx_common.contract.auth import CreateUserRequest
from svgx_common.contract.errors import Conflict, Invalid
from svgx_common.contract.policy import Pool, Role
from svgx_common.runtime import Runtime, Service
from svgx_common.settings import MIN_SECRET_BYTES

log = structlog.get_logger(__name__)

MAINTENANCE_INTERVAL_SECONDS = 600.0
"""Seconds between two runs of the table maintenance."""

QUICK_SLOTS = 64
"""Slots for quick operations that do not wait for a password worker."""

REFUSAL_SLOTS = 16
"""Slots for requests that the full password queue refuses."""


@contextlib.asynccontextmanager
async def build(runtime: Runtime[AuthSettings]) -> AsyncIterator[Service]:
    """Build the service. If no admin exists, create the admin that the settings describe."""
    settings = runtime.settings
    secret = settings.jwt_secret.get_secret_value()
    if len(secret.encode()) < MIN_SECRET_BYTES:
        log.warning("JWT_SECRET is too short for production", minimum_bytes=MIN_SECRET_BYTES)
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
            home_networks = HomeNetworks(database)
            # While JWT_SECRET is replaced, the other secret is the next or the previous one.
            sessions = Sessions(
                database,
                revocations,
                audit,
                signing,
                home_networks,
                secret=secret,
                other_secret=settings.jwt_other_secret.get_secret_value(),
                access_seconds=settings.jwt_expires_in,
                session_seconds=settings.refresh_expires_in,
                idle_seconds=settings.refresh_idle_expires_in,
            )
            attempts = Attempts(database, secret)
            queue = PasswordQueue(slots=settings.password_slots, waiting=settings.password_queue)
            # `UPDATE_USER` may wait in the queue too. It must not take the slots of other quick operations.
            runtime.responder.set_slots(
                Pool.QUICK, QUICK_SLOTS + settings.password_slots + settings.password_queue
            )
            # Every request that runs, waits in the queue or is being refused by the queue has a slot. Without enough
            # slots, requests would wait for a slot, and the queue could not refuse them immediately.
            runtime.responder.set_slots(
                Pool.PASSWORD,
                settings.password_slots + 2 * settings.password_queue + REFUSAL_SLOTS,
            )
            api_keys = ApiKeys(database, revocations, audit)
            sign_ins = SignIns(database, settings.oidc_providers, settings.public_url, secret)
            identities = Identities(database, administration, audit)
            for handlers in (
                SignInHandlers(
                    accounts=accounts,
                    sessions=sessions,
                    passwords=passwords,
                    attempts=attempts,
                    queue=queue,
                    sign_ins=sign_ins,
                    identities=identities,
                    audit=audit,
                ),
                SessionHandlers(sessions),
                OwnAccountHandlers(
                    accounts=accounts,
                    passwords=passwords,
                    attempts=attempts,
                    queue=queue,
                    audit=audit,
                ),
                AdministrationHandlers(
                    accounts=accounts, administration=administration, queue=queue, audit=audit
                ),
                UserSessionHandlers(sessions, administration),
                UserErasureHandlers(
                    runtime.bus, accounts, AccountErasure(database, revocations, audit, attempts)
                ),
                ApiKeyHandlers(api_keys),
                TokenCheckHandlers(signing=signing, revocations=revocations),
                AccountBackups(database, revocations, audit),
            ):
                handlers.register(runtime.responder)
            runtime.health.require("postgresql", database.check)
            runtime.health.describe("database_pool", database.usage)
            account_names = AccountNames(database)
            await account_names.add_missing()
            await _ensure_admin(accounts, settings)

            tasks = BackgroundTasks()
            # Each table has a task of its own, so that a failure at one table does not concern the others.
            for table, step in {
                "sessions": sessions.remove_old,
                "API keys": api_keys.remove_old,
                "attempts": attempts.remove_old,
                "home networks": home_networks.remove_old,
                # During an upgrade, replicas of an earlier version still add accounts.
                "account names": account_names.add_missing,
                "sign-ins": sign_ins.remove_old,
            }.items():
                tasks.repeat(f"maintain the {table}", functools.partial(_maintain, step))
            tasks.repeat("read the file of signing keys again", signing.reload)
            try:
                async with relaying(runtime, database):
                    yield Service()
            finally:
                await tasks.stop()
                await sign_ins.close()


async def _maintain(step: Callable[[], Awaitable[object]]) -> None:
    """Maintain a table, and wait until the next time."""
    await step()
    await asyncio.sleep(MAINTENANCE_INTERVAL_SECONDS)


async def _ensure_admin(accounts: Accounts, settings: AuthSettings) -> None:
    """Create the first admin from the settings, or log which variables prevent it.

    While all admins are disabled, create none, because an operator may have disabled them on purpose. Otherwise, a
    start with an unused name in the settings would create an active admin.
    """
    if await accounts.has_admin():
        if not await accounts.has_active_admin():
            log.warning(
                "there is no active admin: run `svgx-auth create-admin`, or `svgx-auth reset-password --enable`"
            )
        return
    try:
        admin = CreateUserRequest(
            username=settings.svgx_admin_username,
            email=settings.svgx_admin_email,
            password=settings.svgx_admin_password.get_secret_value(),
            role=Role.ADMIN,
        )
    except ValidationError as error:
        variables = sorted({f"SVGX_ADMIN_{str(item['loc'][0]).upper()}" for item in error.errors()})
        log.warning("there is no admin: set these variables and start again", variables=variables)
        return
    try:
        created = await accounts.create_first_admin(admin)
    except Invalid as error:
        log.warning(
            "there is no admin: set these variables and start again",
            variables=[f"SVGX_ADMIN_{str(error.field).upper()}"],
        )
        return
    except Conflict as error:
        # A deleted account, or an account that is not an admin, has the username or address. Only the operator can
        # resolve the conflict.
        variable = f"SVGX_ADMIN_{str(error.field).upper()}"
        log.warning(
            "there is no admin: another account has the value of this variable; change it and start again",
            variables=[variable],
        )
        return
    if created is not None:
        log.info("created the first admin", username=created.username)
