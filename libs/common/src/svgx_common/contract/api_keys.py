"""API keys: models and operations of the auth service."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.fields import patterns
from svgx_common.contract.fields.display_names import check_display_name
from svgx_common.contract.operation import (
    Empty,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    UserId,
)
from svgx_common.contract.policy import RateClass, Role, Scope


class CreateApiKeyRequest(RequestModel):
    """A request for a new key. `role` is at most the account's role, and equals the account's role by default.

    The key acts with the lesser of `role` and the account's current role.

    `user_id` is the id of the account that gets the key, by default the caller's id. Only admins may set another id.
    """

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=100, pattern=patterns.NAME),
        AfterValidator(check_display_name),
        Field(examples=["Floor plan"]),
    ]
    role: Annotated[Role | None, Field(examples=["editor"])] = None
    expires_in_days: Annotated[int, Field(ge=1, le=366)] = 90
    user_id: Annotated[UserId | None, Field(examples=["9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f"])] = (
        None
    )


class ApiKeyInfo(ReplyModel):
    """A key without its secret. `last_used_at` is accurate to one minute."""

    id: str
    user_id: str
    name: str
    prefix: str
    role: Role
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class NewApiKey(ApiKeyInfo):
    """A new key. Only this reply contains `key`."""

    key: str


class ListApiKeysRequest(RequestModel):
    """A request for a page of the keys of `user_id`, by default the caller's id. Only admins may set another id.

    `limit` is the number of keys on a page; `cursor` is the `next` value of the previous page.
    """

    user_id: Annotated[UserId | None, Field(examples=["9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f"])] = (
        None
    )
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class ApiKeyPage(ReplyModel):
    items: list[ApiKeyInfo]
    next: str | None = None


class EndApiKeyRequest(RequestModel):
    key_id: Annotated[Identifier, Field(examples=["5d0f8a43-7c1e-4b7f-9d0a-3e2c1b0a9f8e"])]


class CheckApiKeyRequest(RequestModel):
    key: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class CheckedApiKey(ReplyModel):
    """The account that owns a key. `role` is the lesser of the key's role and the account's role.

    `expires_at` is in Unix seconds.
    """

    key_id: str
    user_id: str
    username: str
    role: Role
    token_version: int
    expires_at: int
    account_role: Role | None = None
    """The role of the account if it is higher than `role`, or None if both are equal."""


CREATE_API_KEY = Operation(
    subject="svgx.auth.api_key.create",
    summary="Create an API key; only this reply contains the key",
    request=CreateApiKeyRequest,
    reply=NewApiKey,
    scope=Scope.SIGNED_IN,
    http=Http("POST", "/auth/api-keys/", status=201),
    rate=RateClass.WRITE,
    secret=True,
    errors=(Conflict, Forbidden, NotFound, TooManyRequests),
)
LIST_API_KEYS = Operation(
    subject="svgx.auth.api_key.list",
    summary="List live API keys, newest first",
    request=ListApiKeysRequest,
    reply=ApiKeyPage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/auth/api-keys/"),
    repeatable=True,
    errors=(Forbidden, NotFound),
)
END_API_KEY = Operation(
    subject="svgx.auth.api_key.end",
    summary="End an API key",
    request=EndApiKeyRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    http=Http("DELETE", "/auth/api-keys/{key_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
CHECK_API_KEY = Operation(
    subject="svgx.auth.api_key.check",
    summary="Get the account that owns an API key",
    request=CheckApiKeyRequest,
    reply=CheckedApiKey,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    repeatable=True,
    errors=(Unauthenticated,),
)
