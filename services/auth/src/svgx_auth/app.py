"""The composition root: everything the auth service is made of is built here."""

import contextlib
from collections.abc import AsyncIterator

import structlog
from pydantic import ValidationError

from svgx_auth.accounts import Accounts
from svgx_auth.handlers import Handlers
from svgx_auth.passwords import Passwords
from svgx_auth.sessions import Sessions
from svgx_auth.settings import AuthSettings
from svgx_common import postgres
from svgx_common.contract.auth import CREATE_USER, LIST_USERS, LOGIN, ME, REFRESH, CreateUserRequest
from svgx_common.contract.errors import Conflict
from svgx_common.contract.policy import Role
from svgx_common.runtime import Runtime, Service
from svgx_common.settings import MIN_SECRET

log = structlog.get_logger(__name__)


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
            accounts = Accounts(database, passwords)
            sessions = Sessions(
                database,
                secret=secret,
                access_seconds=settings.jwt_expires_in,
                session_seconds=settings.refresh_expires_in,
            )
            handlers = Handlers(accounts, sessions, passwords)
            responder = runtime.responder
            responder.answer(LOGIN, handlers.login)
            responder.answer(REFRESH, handlers.refresh)
            responder.answer(ME, handlers.me)
            responder.answer(CREATE_USER, handlers.create_user)
            responder.answer(LIST_USERS, handlers.list_users)
            runtime.health.require("postgresql", database.check)
            runtime.health.describe("database_pool", database.usage)
            await _ensure_admin(accounts, settings)
            yield Service()


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
