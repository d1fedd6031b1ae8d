"""The handler that erases a user in this service and in the state service."""

import time

from svgx_auth.accounts import Accounts
from svgx_auth.audit import Origin
from svgx_auth.erasure.account_erasure import AccountErasure
from svgx_auth.handlers.callers import refuse_api_key
from svgx_common.contract.errors import TEMPORARY_ERRORS, Forbidden, Invalid, Unavailable
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.erasure import (
    ERASE_AUTHOR,
    ERASE_USER,
    EraseAuthorRequest,
    ErasedUser,
    EraseUserRequest,
    OwnedCanvases,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder

MARGIN_SECONDS = 2.0
"""The handler begins no further step of the erasure this number of seconds before the request's deadline.

If the erasure is not complete, the handler then answers with `Unavailable`.
"""


class UserErasureHandlers:
    """The handler of `ERASE_USER`. The gateway checks that the caller is an admin."""

    def __init__(self, bus: Bus, accounts: Accounts, erasure: AccountErasure) -> None:
        self._bus = bus
        self._accounts = accounts
        self._erasure = erasure

    def register(self, responder: Responder) -> None:
        """Answer the operation of this class."""
        responder.answer(ERASE_USER, self.erase_user)

    async def erase_user(self, request: EraseUserRequest, call: Call) -> ErasedUser:
        """Erase a user, first in this service and then in the state service.

        Raises `Unavailable`, with the number of rows changed so far, when a service is not done in time. A repeated
        request continues the erasure.
        """
        refuse_api_key(call)
        if request.confirm != request.user_id:
            raise Invalid("confirm: must be the id of the user", field="confirm")
        if request.user_id == call.signed_in_caller().user_id:
            raise Forbidden("another admin must erase your account", field="user_id")
        await self._check_new_owner(request)
        pseudonym = await self._erasure.begin(request.user_id, Origin.of(call))
        until = call.deadline - MARGIN_SECONDS
        rows, finished = await self._erasure.erase(request.user_id, until)
        touched = {"auth": rows, "state": dict[str, int]()}
        if not finished:
            raise _incomplete("auth service needs more time", touched)
        author_request = EraseAuthorRequest(
            user_id=request.user_id, pseudonym=pseudonym, transfer_to=request.transfer_to
        )
        finished, reason = False, "needs more time"
        while not finished and (remaining := until - time.time()) > 0:
            try:
                answer = await self._bus.ask(
                    ERASE_AUTHOR, author_request, timeout=min(remaining, ERASE_AUTHOR.timeout)
                )
            except TEMPORARY_ERRORS:
                reason = "does not answer"
                break
            finished, touched["state"] = answer.finished, answer.touched
        if not finished:
            raise _incomplete(f"state service {reason}", touched)
        return ErasedUser(user_id=request.user_id, pseudonym=pseudonym, touched=touched)

    async def _check_new_owner(self, request: EraseUserRequest) -> None:
        """Raise `Invalid` for a wrong `transfer_to`.

        A transfer needs `transfer_to`, and a request without a transfer must not have it. `transfer_to` must name
        another active account that may own a canvas.
        """
        new_owner = request.transfer_to
        if (request.canvases is OwnedCanvases.TRANSFER) != (new_owner is not None):
            raise Invalid(
                "transfer_to: must be set if `canvases` is `transfer`, and must not be set otherwise",
                field="transfer_to",
            )
        if new_owner is None:
            return
        accounts = (await self._accounts.find([new_owner])).items
        possible_owners = [
            each for each in accounts if not each.disabled and each.role is not Role.VIEWER
        ]
        if not possible_owners or new_owner == request.user_id:
            raise Invalid(
                "transfer_to: must be another active account that may own a canvas",
                field="transfer_to",
            )


def _incomplete(reason: str, touched: dict[str, dict[str, int]]) -> Unavailable:
    return Unavailable(
        f"the {reason}; send the request again to complete the erasure. "
        f"Changed rows so far: {_counts(touched)}",
        retry_after=1.0,
    )


def _counts(touched: dict[str, dict[str, int]]) -> str:
    parts = [
        f"{service}.{table} {rows}"
        for service, tables in touched.items()
        for table, rows in tables.items()
    ]
    return ", ".join(parts) or "none"
