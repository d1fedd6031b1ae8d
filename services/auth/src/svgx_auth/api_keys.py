"""API keys: for programs that act as an account without signing in (docs/decisions/0012)."""

import hashlib
import secrets
import uuid

from svgx_auth.audit import Audit, Origin
from svgx_auth.revocations import Revocations
from svgx_common.contract.api_keys import (
    ApiKeyInfo,
    ApiKeyPage,
    CheckedApiKey,
    CreateApiKeyRequest,
    ListApiKeysRequest,
    NewApiKey,
)
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor
from svgx_common.postgres import Database, Row

MARK = "svgx"
"""What every key begins with: secret scanners find it, and gateways tell it from a token."""

PREFIX_BYTES = 6
SECRET_BYTES = 32

MAX_KEYS = 50
"""Live keys of one account."""

MAX_NEW_KEYS = 100
"""Keys made for one account in a day: ended ones have to be remembered, here and by every gateway."""

DAY = 86400.0

FORGET_AFTER = 7 * DAY
"""Seconds a key's row is kept after its end. The audit log has its beginning and its end."""

FORGET_AT_ONCE = 10_000
"""Rows one statement removes."""

USED_EVERY = 60.0
"""Seconds between two notes of a key's use."""


class ApiKeys:
    """The `api_key` table. A key counts while it lives and its account is active."""

    def __init__(self, database: Database, revocations: Revocations, audit: Audit) -> None:
        self._database = database
        self._revocations = revocations
        self._audit = audit

    async def create(self, request: CreateApiKeyRequest, by: Caller, origin: Origin) -> NewApiKey:
        """A new key, of the caller's account or, for admins, of another. Its text is told here only.

        Raises `Forbidden` for more than the account may do, `NotFound` for no account, `Conflict` for too many keys,
        `TooManyRequests` for too many in a day.
        """
        user_id = _whose(request.user_id, by)
        prefix = f"{MARK}_{secrets.token_hex(PREFIX_BYTES)}"
        text = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
        async with self._database.transaction() as session:
            # Locked: keys of one account are made one after the other, or they would be too many.
            account = await session.row("lock_account_for_change", user_id)
            if account is None:
                raise NotFound("there is no account with this id", field="user_id")
            own = Role(account["role"])
            role = request.role or own
            if own.least(role) is not role:
                raise Forbidden(f"role: the account is only {own}", field="role", limit=own.value)
            count = await session.row("count_api_keys", user_id, DAY)
            assert count is not None
            if count["live"] >= MAX_KEYS:
                raise Conflict(f"an account has at most {MAX_KEYS} keys", limit=MAX_KEYS)
            if count["recent"] >= MAX_NEW_KEYS:
                raise TooManyRequests(
                    f"at most {MAX_NEW_KEYS} keys a day are made for an account",
                    limit=MAX_NEW_KEYS,
                    retry_after=count["wait"],
                )
            row = await session.row(
                "create_api_key",
                str(uuid.uuid4()),
                user_id,
                request.name,
                prefix,
                hash_of(text),
                role.value,
                request.expires_in_days,
            )
            assert row is not None
            await self._audit.record(
                session,
                AuditEvent.API_KEY_CREATED,
                origin,
                user_id=user_id,
                key_id=row["id"],
                prefix=prefix,
                role=role.value,
            )
        return NewApiKey(key=text, **_info(row).model_dump())

    async def end(self, key_id: str, by: Caller, origin: Origin) -> None:
        """End a key of the caller's or, for admins, any. Raises `NotFound` when there is no such live key."""
        owner = None if by.role is Role.ADMIN else by.user_id
        async with self._database.transaction() as session:
            row = await self._revocations.end_key(session, key_id, owner)
            if row is None:
                raise NotFound("there is no live key with this id", field="key_id")
            await self._audit.record(
                session,
                AuditEvent.API_KEY_ENDED,
                origin,
                user_id=row["account_id"],
                key_id=key_id,
                prefix=row["prefix"],
            )
        await self._revocations.announce_key(row)

    async def page(self, request: ListApiKeysRequest, by: Caller) -> ApiKeyPage:
        """Live keys, newest first, of the caller's account or, for admins, of another."""
        before = None if request.cursor is None else Cursor.decode(request.cursor)
        rows = await self._database.rows(
            "api_keys_before",
            _whose(request.user_id, by),
            request.limit + 1,
            before and before.at,
            before and before.id,
        )
        found = [_info(row) for row in rows[: request.limit]]
        more = len(rows) > request.limit
        following = Cursor(found[-1].created_at, found[-1].id).encode() if more else None
        return ApiKeyPage(items=found, next=following)

    async def forget_old(self) -> None:
        """Remove what has been over for long."""
        await self._database.run("forget_api_keys", FORGET_AFTER, FORGET_AT_ONCE)

    async def check(self, text: str) -> CheckedApiKey:
        """Whom a key stands for. Raises `Unauthenticated`, never saying why."""
        row = await self._database.row("use_api_key", hash_of(text), USED_EVERY)
        if row is None:
            raise Unauthenticated("the API key has ended, or is none")
        return CheckedApiKey(
            key_id=row["id"],
            user_id=row["account_id"],
            username=row["username"],
            role=Role(row["account_role"]).least(Role(row["role"])),
            token_version=row["token_version"],
            expires_at=int(row["expires"]),
        )


def hash_of(text: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(text.encode()).digest()


def _whose(user_id: str | None, by: Caller) -> str:
    if user_id is not None and user_id != by.user_id and by.role is not Role.ADMIN:
        raise Forbidden("user_id: only admins look after the keys of others", field="user_id")
    return user_id or by.user_id


def _info(row: Row) -> ApiKeyInfo:
    return ApiKeyInfo(
        id=row["id"],
        user_id=row["account_id"],
        name=row["name"],
        prefix=row["prefix"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )
