"""Sessions. A client exchanges its session's refresh token for a new access token and a new refresh token."""

import time
import uuid
from dataclasses import dataclass
from typing import Literal

import structlog

from svgx_auth.accounts import Account
from svgx_auth.audit import Audit, Origin
from svgx_auth.keys.signing import Signing
from svgx_auth.keys.token_hash import hash_of
from svgx_auth.passwords.home_networks import HomeNetworks
from svgx_auth.refresh_tokens import RefreshTokens
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.administration.sessions import (
    LIST_USER_SESSIONS,
    ListUserSessionsRequest,
)
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import (
    LIST_SESSIONS,
    ListSessionsRequest,
    SessionInfo,
    SessionPage,
    Tokens,
)
from svgx_common.contract.errors import InvalidCredentials, Unauthenticated
from svgx_common.contract.revocations import Revocation
from svgx_common.database.batches import remove_in_batches
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database
from svgx_common.tokens import access_tokens as tokens

log = structlog.get_logger(__name__)

GRACE_SECONDS = 30.0
"""Time, in seconds, after which a spent refresh token no longer gets its successor.

The token is accepted until then because two tabs may refresh at the same time, and a reply may be lost. Neither is a
sign of theft.
"""

FORGET_SECONDS = 7 * 86400.0
"""Seconds from the end of a session until its row is removed."""


@dataclass(frozen=True, slots=True)
class _ContinuedSession:
    """The outcome of an accepted refresh: the session continues with `refresh_token`.

    `expires_at` is the Unix time, in seconds, at which the session ends.
    """

    account: Account
    session_id: str
    refresh_token: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class _ReusedToken:
    """The outcome for a spent token, after `GRACE_SECONDS` or after its successor was spent. The session was ended."""

    account_id: str
    ended: list[Revocation]


@dataclass(frozen=True, slots=True)
class _RefusedToken:
    """The outcome for a refused token. Nothing has changed. `account_id` is None for an unknown token."""

    account_id: str | None


class Sessions:
    """The `session` and `refresh_token` tables. Lifetimes are in seconds."""

    def __init__(
        self,
        database: Database,
        revocations: Revocations,
        audit: Audit,
        signing: Signing,
        home_networks: HomeNetworks,
        *,
        secret: str,
        other_secret: str = "",
        access_seconds: int,
        session_seconds: int,
        idle_seconds: int,
    ) -> None:
        self._database = database
        self._revocations = revocations
        self._audit = audit
        self._signing = signing
        self._home_networks = home_networks
        self._refresh_tokens = RefreshTokens(secret, other_secret)
        self._access_seconds = access_seconds
        self._session_seconds = session_seconds
        self._idle_seconds = idle_seconds

    async def open(self, account: Account, by: Origin, **detail: str) -> Tokens:
        """Open a session. `detail` is for the audit log.

        Raises `InvalidCredentials` when the account was disabled, deleted or given another password after the caller
        read `account`.
        """
        session_id, token = str(uuid.uuid4()), self._refresh_tokens.first()
        session_until = time.time() + self._session_seconds
        access_until = self._access_until(session_until)
        async with self._database.transaction() as session:
            row = await session.row("lock_account", account.user.id)
            current = None if row is None else Account.from_row(row)
            # Another request may have changed the account since its password was checked.
            if (
                current is None
                or current.disabled
                or current.password_hash != account.password_hash
            ):
                raise InvalidCredentials
            await session.run(
                "open_session",
                session_id,
                account.user.id,
                session_until,
                tokens.accepted_until(access_until),
                by.client.address,
                by.client.user_agent,
                self._idle_seconds,
            )
            await session.run("add_refresh_token", hash_of(token), session_id)
            await self._home_networks.remember(session, account.user.id, by.client.address)
            await self._audit.record(
                session,
                AuditEvent.LOG_IN,
                by,
                user_id=current.user.id,
                session_id=session_id,
                **detail,
            )
            # Sign before the commit, because a session without a token would be of no use.
            return self._tokens(current, session_id, token, access_until)

    async def refresh(self, old: str, by: Origin) -> Tokens:
        """Exchange a refresh token for its successor and a new access token.

        A spent token gets the same successor again, for at most `GRACE_SECONDS` and only until the successor is spent.
        Later, the use of a spent token ends the session, because it shows that two clients have the token, and that
        one of the clients has stolen it.

        Raises `Unauthenticated` for this later use, and for a token that is unknown or belongs to an ended session.
        """
        successors = self._refresh_tokens.successors(old)
        async with self._database.transaction() as session:
            outcome = await self._spend(session, hash_of(old), successors, by)
            if isinstance(outcome, _ContinuedSession):
                access_until = self._access_until(outcome.expires_at)
                await session.run(
                    "use_session",
                    outcome.session_id,
                    tokens.accepted_until(access_until),
                    by.client.address,
                    by.client.user_agent,
                    self._idle_seconds,
                )
                await self._home_networks.remember(
                    session, outcome.account.user.id, by.client.address
                )
                return self._tokens(
                    outcome.account, outcome.session_id, outcome.refresh_token, access_until
                )
        if isinstance(outcome, _ReusedToken):
            log.warning("a spent refresh token was used", user_id=outcome.account_id)
            await self._revocations.announce(outcome.ended)
        else:
            await self._audit.note(AuditEvent.REFRESH_REFUSED, by, user_id=outcome.account_id)
        raise Unauthenticated(
            "the refresh token is spent, expired or not valid", field="refresh_token"
        )

    async def end(
        self, user_id: str, session_id: str, reason: Literal["logout", "ended"], by: Origin
    ) -> bool:
        """End one session of an account. Return False when the account has no such live session."""
        async with self._database.transaction() as session:
            ended = await self._revocations.end_session(session, user_id, session_id, reason)
            if ended:
                event = AuditEvent.LOG_OUT if reason == "logout" else AuditEvent.SESSION_ENDED
                await self._audit.record(session, event, by, user_id=user_id, session_id=session_id)
        await self._revocations.announce(ended)
        return bool(ended)

    async def own_page(self, request: ListSessionsRequest, caller: Caller) -> SessionPage:
        """Return a page of the caller's live sessions, newest first.

        Raises `Invalid` for a cursor that is not the `next` of a page.
        """
        listing = Listing.of(LIST_SESSIONS, request, caller.user_id)
        return await self._page(listing, request, caller.user_id, caller)

    async def page(self, request: ListUserSessionsRequest, caller: Caller) -> SessionPage:
        """Return a page of an account's live sessions, as `own_page` does."""
        listing = Listing.of(LIST_USER_SESSIONS, request)
        return await self._page(listing, request, request.user_id, caller)

    async def _page(
        self,
        listing: Listing,
        request: ListSessionsRequest | ListUserSessionsRequest,
        user_id: str,
        caller: Caller,
    ) -> SessionPage:
        before = listing.decode(request.cursor)
        rows = await self._database.rows(
            "live_sessions_before",
            user_id,
            request.limit + 1,
            before and before.at,
            before and before.id,
        )
        page, next_cursor = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["created_at"], row["id"])
        )
        items = [
            SessionInfo(
                id=row["id"],
                created_at=row["created_at"],
                last_used_at=row["last_used_at"],
                expires_at=row["expires_at"],
                address=row["address"],
                user_agent=row["user_agent"],
                current=row["id"] == caller.session_id,
            )
            for row in page
        ]
        return SessionPage(items=items, next=next_cursor)

    async def remove_old(self) -> None:
        """Remove sessions that ended or expired more than `FORGET_SECONDS` ago, with their refresh tokens."""
        await remove_in_batches(
            lambda rows: self._database.row("forget_refresh_tokens", FORGET_SECONDS, rows)
        )
        await remove_in_batches(
            lambda rows: self._database.row("forget_sessions", FORGET_SECONDS, rows)
        )

    async def _spend(
        self, session: postgres.Session, old: bytes, successors: list[str], by: Origin
    ) -> _ContinuedSession | _ReusedToken | _RefusedToken:
        """Mark a refresh token as spent, or handle the use of a spent token.

        `old` is the token's hash. `successors` are the possible successors of the token. An unspent token gets the
        first of them, and the hash of this successor is stored. A token that was spent less than `GRACE_SECONDS` ago
        gets the successor with the stored hash, if that successor is not spent.
        """
        owner = await session.row("session_of_refresh_token", old)
        if owner is None:
            return _RefusedToken(None)
        account_row = await session.row("lock_account", owner["account_id"])
        live = await session.row("lock_live_session", owner["id"])
        if account_row is None or live is None:
            return _RefusedToken(owner["account_id"])
        account = Account.from_row(account_row)
        if account.disabled:
            return _RefusedToken(owner["account_id"])
        # Read the token after locking, because the transaction that held the locks before may have spent it.
        token = await session.row("refresh_token_state", old, GRACE_SECONDS)
        assert token is not None
        successor: str | None = successors[0]
        if not token["spent"]:
            await session.run("spend_refresh_token", old, hash_of(successors[0]))
            await session.run("add_refresh_token", hash_of(successors[0]), owner["id"])
        elif not token["recent"]:
            ended = await self._revocations.end_session(
                session, account.user.id, owner["id"], "reuse"
            )
            await self._audit.record(
                session,
                AuditEvent.TOKEN_REUSED,
                by,
                user_id=account.user.id,
                session_id=owner["id"],
            )
            return _ReusedToken(account.user.id, ended)
        else:
            stored = token["successor"]
            successor = next((each for each in successors if hash_of(each) == stored), None)
        if successor is None:
            # The server's secret has changed within `GRACE_SECONDS` without `JWT_OTHER_SECRET`, so the stored successor
            # cannot be derived again. This is no sign of theft: refuse the token, but do not end the session.
            return _RefusedToken(account.user.id)
        return _ContinuedSession(account, owner["id"], successor, live["expires"])

    def _access_until(self, session_until: float) -> int:
        """Return the Unix time at which an access token issued now expires. The token never outlives its session."""
        return int(min(time.time() + self._access_seconds, session_until))

    def _tokens(
        self, account: Account, session_id: str, refresh_token: str, access_until: int
    ) -> Tokens:
        now = int(time.time())
        user = account.user
        claims = tokens.AccessClaims(
            user_id=user.id,
            username=user.username,
            role=user.role,
            session_id=session_id,
            token_id=str(uuid.uuid4()),
            issued_at=now,
            expires_at=access_until,
            token_version=account.token_version,
        )
        return Tokens(
            access_token=tokens.sign(claims, self._signing.key()),
            refresh_token=refresh_token,
            expires_in=access_until - now,
            user=user,
        )
