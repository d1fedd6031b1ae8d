"""The operations that erase one user's personal data.

Admins call `ERASE_USER`, which auth answers. Auth calls `ERASE_AUTHOR` for the state service's data, which names the
user as the author of edits.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from svgx_common.contract.auth import UserRequest
from svgx_common.contract.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from svgx_common.contract.operation import Http, Operation, ReplyModel, RequestModel, UserId
from svgx_common.contract.policy import RateClass, Scope


class OwnedCanvases(StrEnum):
    """The ways to treat the canvases that have the erased user as their only owner."""

    TRANSFER = "transfer"
    """Another user becomes the owner of the canvases."""
    DELETE = "delete"
    """The canvases are deleted. An admin can restore them until their retention has passed."""


class EraseUserRequest(UserRequest):
    """A request to erase a user. `confirm` is the user's id once more, because an erasure cannot be undone.

    `transfer_to` is the new owner if `canvases` is `transfer`.
    """

    confirm: Annotated[UserId, Field(examples=["9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f"])]
    canvases: Annotated[OwnedCanvases, Field(examples=["delete"])]
    transfer_to: UserId | None = None


class ErasedUser(ReplyModel):
    """The report of a complete erasure. `pseudonym` replaces the user everywhere.

    `touched` counts the changed and removed rows, by service and table.
    """

    user_id: str
    pseudonym: str
    touched: dict[str, dict[str, int]]


class EraseAuthorRequest(RequestModel):
    """A request for the state service's part of an erasure.

    Without `transfer_to`, canvases that have the user as their only owner are deleted.
    """

    user_id: UserId
    pseudonym: UserId
    transfer_to: UserId | None = None


class ErasedAuthor(ReplyModel):
    """The numbers of rows changed and removed so far, by table. The caller asks again until `finished` is true."""

    finished: bool
    touched: dict[str, int]


ERASE_USER = Operation(
    subject="svgx.auth.user.erase",
    summary="Erase a user's personal data in all services; a second request completes an interrupted one",
    request=EraseUserRequest,
    reply=ErasedUser,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/users/{user_id}/erase"),
    rate=RateClass.WRITE,
    timeout=60.0,
    asks="state",
    errors=(Conflict, Forbidden, Invalid, NotFound, Unavailable),
)
ERASE_AUTHOR = Operation(
    subject="svgx.state.user.erase",
    summary="Replace a user by a pseudonym in the state service, in parts: repeat the request until it is finished",
    request=EraseAuthorRequest,
    reply=ErasedAuthor,
    scope=Scope.INTERNAL,
    callers=("auth",),
    rate=RateClass.INTERNAL,
    timeout=20.0,
    repeatable=True,
    errors=(Unavailable,),
)
