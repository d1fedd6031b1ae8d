"""API keys, with which programs act as an account without signing in (docs/decisions/0012)."""

import secrets
import uuid

from svgx_auth.audit import Audit, Origin
from svgx_auth.keys.token_hash import hash_of
from svgx_auth.revocations import Revocations
from svgx_common.contract.api_keys import (
    LIST_API_KEYS,
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
from svgx_common.database.batches import remove_in_batches
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row

MARK = "svgx"
"""The beginning of every key. Secret scanners find keys by it, and gateways tell keys from access tokens by it."""

PREFIX_BYTES = 6
"""Random bytes in a key's prefix, by which users tell keys apart."""

SECRET_BYTES = 32
"""Random bytes in the secret part of a key."""

MAX_KEYS = 50
"""Maximum number of live keys of one account. Beyond it, `create` raises `Conflict`."""

MAX_NEW_KEYS = 100
"""Maximum number of new keys for one account in a day. Beyond it, `create` raises `TooManyRequests`.

The number is limited because this service and every gateway remember ended keys for some time.
"""

DAY_SECONDS = 86400.0
"""Seconds in a day."""

FORGET_AFTER_SECONDS = 7 * DAY_SECONDS
"""Lifetime of a key's row after the end of the key, in seconds. The audit log keeps the key's creation and end."""

USE_INTERVAL_SECONDS = 60.0
"""Minimum time between two updates of a key's `last_used_at`, in seconds."""


class ApiKeys:
    """The `api_key` table. A key is valid until it ends or expires, and only while its account is active."""

    def __init__(self, database: Database, revocations: Revocations, audit: Audit) -> None:
        self._database = database
        self._revocations = revocations
        self._audit = audit

    async def create(self, request: CreateApiKeyRequest, by: Caller, origin: Origin) -> NewApiKey:
        """Create a key for the caller's account or, when the caller is an admin, for any account.

        Only this reply contains the key's text. Raises `Forbidden` when the requested role is higher than the
        account's, or when a caller without the role admin names another account. Raises `NotFound` when there is no
        such account, `Conflict` when the account has `MAX_KEYS` live keys, and `TooManyRequests` after `MAX_NEW_KEYS`
        new keys in a day.
        """
        user_id = _owner_id(request.user_id, by)
        prefix = f"{MARK}_{secrets.token_hex(PREFIX_BYTES)}"
        text = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
        async with self._database.transaction() as session:
            # Lock the account, because two requests at the same time could otherwise exceed the limits below.
            account = await session.row("lock_account_for_change", user_id)
            if account is None:
                raise NotFound("there is no account with this id", field="user_id")
            account_role = Role(account["role"])
            role = request.role or account_role
            if account_role.least(role) is not role:
                raise Forbidden(
                    f"role: must not be higher than the account's role, {account_role}",
                    field="role",
                    limit=account_role.value,
                )
            count = await session.row("count_api_keys", user_id, DAY_SECONDS)
            assert count is not None
            if count["live"] >= MAX_KEYS:
                raise Conflict(f"an account may have at most {MAX_KEYS} keys", limit=MAX_KEYS)
            if count["recent"] >= MAX_NEW_KEYS:
                raise TooManyRequests(
                    f"at most {MAX_NEW_KEYS} keys a day can be created for an account",
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
        return NewApiKey(key=text, **_key_info(row).model_dump())

    async def end(self, key_id: str, by: Caller, origin: Origin) -> None:
        """End a key of the caller's account or, when the caller is an admin, of any account.

        Raises `NotFound` when there is no such live key.
        """
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
        """Return a page of an account's live keys, newest first.

        Raises `Invalid` for a cursor that is not the `next` of a page, and `Forbidden` when the caller is not an admin
        and asks for the keys of another account. Raises `NotFound` when there is no such account.
        """
        owner_id = _owner_id(request.user_id, by)
        if owner_id != by.user_id and await self._database.row("any_account", owner_id) is None:
            raise NotFound("there is no account with this id", field="user_id")
        # A request without an account and a request with the caller's own id mean the same list. Therefore the cursor
        # of one request is valid for the other request.
        listing = Listing.of(LIST_API_KEYS, request.model_copy(update={"user_id": owner_id}))
        before = listing.decode(request.cursor)
        rows = await self._database.rows(
            "api_keys_before",
            owner_id,
            request.limit + 1,
            before and before.at,
            before and before.id,
        )
        page, next_cursor = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["created_at"], row["id"])
        )
        return ApiKeyPage(items=[_key_info(row) for row in page], next=next_cursor)

    async def remove_old(self) -> None:
        """Remove keys that ended or expired more than `FORGET_AFTER_SECONDS` ago."""
        await remove_in_batches(
            lambda rows: self._database.row("forget_api_keys", FORGET_AFTER_SECONDS, rows)
        )

    async def check(self, text: str) -> CheckedApiKey:
        """Return the account and role of a valid key.

        Raises `Unauthenticated` for all other texts. The error does not tell why the key is refused.
        """
        row = await self._database.row("use_api_key", hash_of(text), USE_INTERVAL_SECONDS)
        if row is None:
            raise Unauthenticated("the API key is not valid")
        account_role = Role(row["account_role"])
        role = account_role.least(Role(row["role"]))
        return CheckedApiKey(
            key_id=row["id"],
            user_id=row["account_id"],
            username=row["username"],
            role=role,
            token_version=row["token_version"],
            expires_at=int(row["expires"]),
            account_role=None if role is account_role else account_role,
        )


def _owner_id(user_id: str | None, by: Caller) -> str:
    """Return the id of the account that a request is about, by default the caller's.

    Raises `Forbidden` when the account is not the caller's and the caller is not an admin.
    """
    if user_id is not None and user_id != by.user_id and by.role is not Role.ADMIN:
        raise Forbidden("user_id: only admins manage the keys of other accounts", field="user_id")
    return user_id or by.user_id


def _key_info(row: Row) -> ApiKeyInfo:
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
