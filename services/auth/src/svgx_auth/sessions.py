"""Sessions: an opaque refresh token, stored as its hash and changed at every use, and the access tokens it buys."""

import hashlib
import secrets
import time
import uuid

from svgx_auth.accounts import Account
from svgx_common import tokens
from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import Unauthenticated
from svgx_common.postgres import Database

TOKEN_BYTES = 32
"""Entropy of a refresh token: 256 bits, so that its hash needs no salt and no slowness."""


class Sessions:
    """The `session` and `refresh_token` tables. Lifetimes are in seconds."""

    def __init__(
        self,
        database: Database,
        *,
        secret: str,
        access_seconds: int,
        session_seconds: int,
    ) -> None:
        self._database = database
        self._secret = secret
        self._access_seconds = access_seconds
        self._session_seconds = session_seconds

    async def open(self, account: Account) -> Tokens:
        """A new session of this account."""
        session_id, token = str(uuid.uuid4()), secrets.token_urlsafe(TOKEN_BYTES)
        async with self._database.transaction() as session:
            await session.run("open_session", session_id, account.user.id, self._session_seconds)
            await session.run("add_refresh_token", _hash(token), session_id)
        return self._tokens(account, session_id, token)

    async def refresh(self, old: str) -> Tokens:
        """Exchange a refresh token for its successor. Raises `Unauthenticated` for one that is spent, ended or none."""
        refused = Unauthenticated(
            "the refresh token is spent, expired or not valid", field="refresh_token"
        )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        async with self._database.transaction() as session:
            row = await session.row("spend_refresh_token", _hash(old), _hash(token))
            if row is None:
                raise refused
            await session.run("add_refresh_token", _hash(token), row["session_id"])
            found = await session.row("account_by_id", row["account_id"])
            account = None if found is None else Account.of(found)
            # Inside the transaction, so that whatever fails here spends nothing.
            if account is None or account.disabled:
                raise refused
        return self._tokens(account, row["session_id"], token)

    def _tokens(self, account: Account, session_id: str, refresh_token: str) -> Tokens:
        now = int(time.time())
        user = account.user
        claims = tokens.AccessClaims(
            user_id=user.id,
            username=user.username,
            role=user.role,
            session_id=session_id,
            token_id=str(uuid.uuid4()),
            issued_at=now,
            expires_at=now + self._access_seconds,
        )
        return Tokens(
            access_token=tokens.sign(claims, self._secret),
            refresh_token=refresh_token,
            expires_in=self._access_seconds,
            user=user,
        )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
