"""Quotas: bounds on the storage and the number of canvases of an account, and on the storage of a canvas.

State counts and stores the use of each bound. Beyond a bound, the gateways refuse edits and imports, and state refuses
new canvases.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from svgx_common.contract.auth import UserRequest
from svgx_common.contract.errors import Conflict, Invalid, NotFound
from svgx_common.contract.operation import (
    Channel,
    Count,
    Http,
    Identifier,
    Operation,
    PageLimit,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Role, Scope
from svgx_common.contract.state import CanvasRequest

NEAR_SHARE = 0.8
"""A use of at least this share of a bound counts as near to the bound."""

SLOWED_SHARE = 0.9
"""The gateways slow an account's edits down from this share of its bound `journal_bytes_per_day` on."""

Bound = Annotated[int, Field(ge=0, le=2**50)]
"""A bound in bytes or in canvases. 0 allows nothing."""


class AccountBounds(BaseModel):
    """Bounds of one account. None means that a bound is not set (see `over`).

    `journal_bytes_per_day` bounds the bytes that the account's edits add to the journal in a day (UTC). `canvases`
    bounds the canvases that the account created and that are not deleted. `canvases_per_hour` and `canvases_per_day`
    bound the canvases that the account creates in an hour and in a day, including deleted canvases.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    journal_bytes_per_day: Bound | None = None
    canvases: Bound | None = None
    canvases_per_hour: Bound | None = None
    canvases_per_day: Bound | None = None

    def over(self, base: "AccountBounds") -> "AccountBounds":
        """Return these bounds, with those of `base` in place of the bounds that are not set."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


class CanvasBounds(BaseModel):
    """Bounds of one canvas, for all its editors together. None means that a bound is not set (see `over`).

    `journal_bytes_per_day` bounds the bytes that edits add to the canvas's journal in a day (UTC). `content_bytes`
    bounds the bytes of the newest snapshot plus the journal after the snapshot.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    journal_bytes_per_day: Bound | None = None
    content_bytes: Bound | None = None

    def over(self, base: "CanvasBounds") -> "CanvasBounds":
        """Return these bounds, with those of `base` in place of the bounds that are not set."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


RoleBounds = dict[Role, AccountBounds]
UserBounds = Annotated[dict[Identifier, AccountBounds], Field(max_length=1000)]
BoundsByCanvas = Annotated[dict[Identifier, CanvasBounds], Field(max_length=1000)]


class Quotas(ReplyModel):
    """The bounds in force: `account` and `canvas` apply to all. `roles`, `users` and `canvases` have exceptions.

    `version` counts the changes; 0 means that the settings of the state service apply.
    """

    version: int = 0
    account: AccountBounds = AccountBounds()
    canvas: CanvasBounds = CanvasBounds()
    roles: RoleBounds = Field(default_factory=dict)
    users: dict[str, AccountBounds] = Field(default_factory=dict)
    canvases: dict[str, CanvasBounds] = Field(default_factory=dict)

    def of_account(self, user_id: str, role: Role) -> AccountBounds:
        """Return the bounds of an account: its own bounds first, then those of its role, then those of all accounts."""
        return self.users.get(user_id, AccountBounds()).over(self.of_role(role))

    def of_role(self, role: Role) -> AccountBounds:
        """Return the bounds of the accounts with a role, except for accounts with bounds of their own."""
        return self.roles.get(role, AccountBounds()).over(self.account)

    def of_canvas(self, canvas_id: str) -> CanvasBounds:
        """Return the bounds of a canvas: its own bounds first, then those of all canvases."""
        return self.canvases.get(canvas_id, CanvasBounds()).over(self.canvas)

    def lowest_role_bytes(self) -> int:
        """Return the lowest `journal_bytes_per_day` of a role. A role without this bound counts as 0."""
        return min(self.of_role(role).journal_bytes_per_day or 0 for role in Role)


class QuotasRequest(RequestModel):
    pass


class SetQuotasRequest(RequestModel):
    """New bounds, which replace the stored bounds. A bound that is not named has the setting of the state service.

    By default, admins have ten times the bounds of other accounts. A bound for all accounts (`account`) also replaces
    this bound of admins; set `roles.admin` too to keep it higher.

    With `version`, the change is refused when the stored bounds have another version.
    """

    version: Count | None = None
    account: Annotated[AccountBounds, Field(examples=[{"canvases": 1000}])] = AccountBounds()
    canvas: Annotated[CanvasBounds, Field(examples=[{"content_bytes": 134217728}])] = CanvasBounds()
    roles: Annotated[RoleBounds, Field(examples=[{"admin": {"canvases_per_hour": 1000}}])] = Field(
        default_factory=dict
    )
    users: Annotated[UserBounds, Field(examples=[{}])] = Field(default_factory=dict)
    canvases: Annotated[BoundsByCanvas, Field(examples=[{}])] = Field(default_factory=dict)


class CanvasUse(ReplyModel):
    """The bytes that edits added to a canvas's journal on a day, and the bytes of its content."""

    journal_bytes: int = 0
    content_bytes: int = 0


class QuotaReport(ReplyModel):
    """The bounds in force, and the use of the accounts and canvases that are near to a bound.

    `accounts` has the bytes that each of these accounts added to the journal on `day` (UTC).
    """

    quotas: Quotas
    day: date
    accounts: dict[str, int] = Field(default_factory=dict)
    canvases: dict[str, CanvasUse] = Field(default_factory=dict)


class QuotaName(StrEnum):
    """The bounds by name."""

    ACCOUNT_JOURNAL = "account_journal_bytes_per_day"
    CANVASES = "canvases"
    CANVASES_PER_HOUR = "canvases_per_hour"
    CANVASES_PER_DAY = "canvases_per_day"
    CANVAS_JOURNAL = "canvas_journal_bytes_per_day"
    CANVAS_CONTENT = "canvas_content_bytes"


class QuotaStatus(StrEnum):
    """The use of a bound: below 80 % of the bound, near (from 80 %), slowed, or over (from 100 %).

    `slowed` applies from 90 % of an account's `journal_bytes_per_day`, and to no other bound.
    """

    BELOW = "below"
    NEAR = "near"
    SLOWED = "slowed"
    OVER = "over"


class Use(ReplyModel):
    """The use of one bound. `resets_at` is the time at which the use falls by itself; null if it never does.

    The bytes of a day fall to 0 at the end of the day (UTC). The number of created canvases falls when the oldest
    counted canvas is an hour or a day old.
    """

    name: QuotaName
    used: int
    limit: int
    status: QuotaStatus
    resets_at: datetime | None = None

    @classmethod
    def of(cls, name: QuotaName, used: int, limit: int, resets_at: datetime | None = None) -> "Use":
        """Return the use of a bound, with its status."""
        if used >= limit:
            status = QuotaStatus.OVER
        elif name is QuotaName.ACCOUNT_JOURNAL and used >= SLOWED_SHARE * limit:
            status = QuotaStatus.SLOWED
        else:
            status = QuotaStatus.NEAR if used >= NEAR_SHARE * limit else QuotaStatus.BELOW
        return cls(name=name, used=used, limit=limit, status=status, resets_at=resets_at)


class AccountUsage(ReplyModel):
    """The use of an account's bounds. Journal bytes are counted with a delay of seconds."""

    user_id: str
    role: Role
    uses: list[Use]


class CanvasUsage(ReplyModel):
    """The use of a canvas's bounds, by all its editors together."""

    canvas_id: str
    uses: list[Use]


class UsageList(StrEnum):
    """The lists of the largest use: one of accounts, and one of canvases."""

    ACCOUNTS = "accounts"
    CANVASES = "canvases"


class TopUsageRequest(RequestModel):
    """`limit` is the number of accounts or canvases."""

    by: Annotated[UsageList, Field(examples=["accounts"])] = UsageList.ACCOUNTS
    limit: PageLimit = 50


class TopUsage(ReplyModel):
    """The bytes that the edits of the account or canvas `id` added to the journal today (UTC)."""

    id: str
    journal_bytes: int


class TopUsages(ReplyModel):
    """The largest use of today (UTC), the largest first."""

    day: date
    items: list[TopUsage]


MAX_QUOTAS_BYTES = 512 * 1024
"""Largest size of a request that sets quotas, in bytes. Its exceptions may have thousands of entries."""

# GET_QUOTAS and SET_QUOTAS have no rate limit, so that an admin can always correct bounds that are too low.
GET_QUOTAS = Operation(
    subject="svgx.state.quotas.get",
    summary="Get the quotas in force",
    request=QuotasRequest,
    reply=Quotas,
    scope=Scope.ADMIN,
    http=Http("GET", "/security/quotas/config/"),
    rate=RateClass.UNLIMITED,
    repeatable=True,
)
SET_QUOTAS = Operation(
    subject="svgx.state.quotas.set",
    summary="Set quotas, on all replicas at once",
    request=SetQuotasRequest,
    reply=Quotas,
    scope=Scope.ADMIN,
    http=Http("PUT", "/security/quotas/config/"),
    rate=RateClass.UNLIMITED,
    max_body=MAX_QUOTAS_BYTES,
    asks="auth",
    errors=(Conflict, Invalid),
)
OWN_USAGE = Operation(
    subject="svgx.state.usage.own",
    summary="Get the use of the caller's quotas",
    request=QuotasRequest,
    reply=AccountUsage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/runtime/usage/"),
    repeatable=True,
)
USER_USAGE = Operation(
    subject="svgx.state.usage.user",
    summary="Get the use of a user's quotas",
    request=UserRequest,
    reply=AccountUsage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/{user_id}/usage"),
    repeatable=True,
    asks="auth",
    errors=(NotFound,),
)
CANVAS_USAGE = Operation(
    subject="svgx.state.usage.canvas",
    summary="Get the use of a canvas's quotas",
    request=CanvasRequest,
    reply=CanvasUsage,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("GET", "/runtime/canvases/{canvas_id}/usage"),
    repeatable=True,
    errors=(NotFound,),
)
TOP_USAGE = Operation(
    subject="svgx.state.usage.top",
    summary="List the accounts or canvases with the most journal bytes added today",
    request=TopUsageRequest,
    reply=TopUsages,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/usage/"),
    repeatable=True,
)
QUOTA_REPORT = Operation(
    subject="svgx.state.quotas.report",
    summary="Get the quotas in force, and the accounts and canvases near to a bound",
    request=QuotasRequest,
    reply=QuotaReport,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    repeatable=True,
)

QUOTAS_CHANGED = Channel(
    subject="svgx.state.quotas.changed",
    summary="State's broadcast of the quotas in force, and of accounts and canvases near to a bound",
    publishers=("state",),
    subscribers=("gateway",),
    payload=QuotaReport,
)
