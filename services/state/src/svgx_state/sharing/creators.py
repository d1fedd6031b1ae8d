"""The accounts that created share links. A link gives a role only while its creator may share the canvas."""

import time
from collections import OrderedDict

import structlog

from svgx_common.contract.auth import FoundAccount
from svgx_common.contract.errors import TEMPORARY_ERRORS, Unavailable
from svgx_common.contract.policy import CanvasRole
from svgx_state.accounts import Accounts
from svgx_state.permissions import effective_role

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2.0
"""Time limit for an answer from auth, in seconds. It is short, because a client waits for its role meanwhile."""

MAX_AGE_SECONDS = 600.0
"""Largest age, in seconds, of an answer that is used while auth does not answer."""

MAX_ENTRIES = 10_000
"""Largest number of remembered answers. Beyond it, the oldest answer is removed."""


class LinkCreators:
    """Looks up the creators of share links in auth. An earlier answer is used only while auth does not answer."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._answers: OrderedDict[str, tuple[float, FoundAccount | None]] = OrderedDict()

    async def may_share(self, user_id: str, member: CanvasRole | None) -> bool:
        """Return whether a user with this role as a member may share the canvas: as an owner, or as an admin.

        The account must be active. Raises `Unavailable` when auth does not answer and its last answer about the account
        is older than `MAX_AGE_SECONDS`.
        """
        account = await self._find(user_id)
        if account is None or account.disabled:
            return False
        return effective_role(account.role, member) is CanvasRole.OWNER

    def forget(self, user_ids: list[str]) -> None:
        """Forget the answers about accounts that have changed."""
        for user_id in user_ids:
            self._answers.pop(user_id, None)

    async def _find(self, user_id: str) -> FoundAccount | None:
        try:
            account = (await self._accounts.find([user_id], timeout=TIMEOUT_SECONDS)).get(user_id)
        except TEMPORARY_ERRORS:
            answered_at, answer = self._answers.get(user_id, (-MAX_AGE_SECONDS, None))
            if time.monotonic() - answered_at < MAX_AGE_SECONDS:
                return answer
            raise Unavailable(
                "it is not known whether the share link's creator is active; try again",
                retry_after=1.0,
            ) from None
        self._answers[user_id] = (time.monotonic(), account)
        self._answers.move_to_end(user_id)
        while len(self._answers) > MAX_ENTRIES:
            self._answers.popitem(last=False)
        return account
