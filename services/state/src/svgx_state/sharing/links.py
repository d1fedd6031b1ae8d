"""Share links: the table `share_link`."""

import asyncio
import hashlib
import secrets
import uuid

import structlog

from svgx_common.contract.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.storage.events import LinkCreated, LinkRevoked
from svgx_common.contract.storage.links import (
    LINK_PREFIX,
    LIST_LINKS,
    CheckedLink,
    CreateLinkRequest,
    EndLinkRequest,
    LinkInfo,
    LinkPage,
    LinkRole,
    ListLinksRequest,
    NewLink,
)
from svgx_common.database.batches import remove_in_batches
from svgx_common.events.outbox import emit
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session
from svgx_state.permissions import effective_role, no_such_canvas
from svgx_state.sharing.creators import LinkCreators

PREFIX_BYTES = 6
"""Random bytes in a token's prefix, by which owners tell links apart."""

SECRET_BYTES = 32
"""Random bytes in the secret part of a token."""

PERIOD_SECONDS = 3600.0
"""Seconds between two removals of expired links."""

log = structlog.get_logger(__name__)


class Links:
    """The share links of all canvases. A link is valid until it is revoked or expires.

    A link gives a role only while its creator has an active account and is an owner of the canvas or an admin. A
    revoked link has no row.
    """

    def __init__(self, database: Database, creators: LinkCreators, max_links: int) -> None:
        self._database = database
        self._creators = creators
        self._max_links = max_links

    async def create(self, request: CreateLinkRequest, by: Caller) -> NewLink:
        """Create a link. Only this reply contains its token.

        Raises `Invalid` if `expires_at` has passed, and `Conflict` if the canvas already has `max_links` live links.
        Raises `NotFound` or `Forbidden` if the canvas was deleted, or the caller's role changed, after the gateway's
        check.
        """
        prefix = f"{LINK_PREFIX}{secrets.token_hex(PREFIX_BYTES)}"
        token = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
        async with self._database.transaction() as session:
            await session.run("lock_links", request.canvas_id)
            await _require_owner(session, request.canvas_id, by)
            count = await session.row("count_links", request.canvas_id)
            assert count is not None
            if count["live"] >= self._max_links:
                raise Conflict(
                    f"a canvas has at most {self._max_links} share links; revoke one first",
                    limit=self._max_links,
                )
            row = await session.row(
                "create_link",
                str(uuid.uuid4()),
                request.canvas_id,
                request.role.value,
                request.label,
                prefix,
                hash_of(token),
                by.user_id,
                request.expires_at,
            )
            if row is not None:
                created = LinkCreated(
                    canvas_id=request.canvas_id, link_id=row["id"], role=request.role.canvas_role
                )
                await emit(session, created, actor=by.user_id)
        if row is None:
            raise Invalid("expires_at: must be in the future", field="expires_at")
        log.info("share link created", link_id=row["id"], role=row["role"], by=by.user_id)
        return NewLink(token=token, **_link(row).model_dump())

    async def page(self, request: ListLinksRequest) -> LinkPage:
        """Return a page of the live links of a canvas, newest first.

        Raises `Invalid` for a cursor that is not the `next` of a page.
        """
        listing = Listing.of(LIST_LINKS, request)
        before = listing.decode(request.cursor)
        rows = await self._database.rows(
            "links_before",
            request.canvas_id,
            request.limit + 1,
            before and before.at,
            before and before.id,
        )
        page, following = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["created_at"], row["id"])
        )
        return LinkPage(items=[_link(row) for row in page], next=following)

    async def end(self, request: EndLinkRequest, by: Caller) -> None:
        """Revoke a link. Raises `NotFound` when the canvas has no such link."""
        async with self._database.transaction() as session:
            row = await session.row("end_link", request.canvas_id, request.link_id)
            if row is None:
                raise NotFound("the canvas has no share link with this id", field="link_id")
            revoked = LinkRevoked(canvas_id=request.canvas_id, link_id=row["id"])
            await emit(session, revoked, actor=by.user_id)
        log.info("share link revoked", link_id=row["id"], role=row["role"], by=by.user_id)

    async def check(self, token: str) -> CheckedLink:
        """Return the link of a token. Raises `Unauthenticated` for any other text; the error does not say why."""
        row = await self._database.row("link_of_token", hash_of(token))
        if row is None:
            raise Unauthenticated("the share link is not valid")
        return CheckedLink(
            id=row["id"],
            canvas_id=row["canvas_id"],
            expires_at=row["expires"],
            created_by=row["created_by"],
        )

    async def role(self, caller: Caller, canvas_id: str) -> CanvasRole | None:
        """Return the role that the caller's link gives on a canvas, or None when it gives no role.

        For a visitor, raises `Unauthenticated` when the link has ended or its creator may not share the canvas, and
        `Forbidden` when the link is for another canvas. Raises `Unavailable` while it is not known whether the creator
        is active.
        """
        row = None
        if caller.link_id is not None:
            row = await self._database.row("live_link", caller.link_id)
        if row is not None:
            member = row["creator_role"]
            creator_role = None if member is None else CanvasRole(member)
            if not await self._creators.may_share(row["created_by"], creator_role):
                row = None
        if row is None:
            if caller.is_visitor:
                raise Unauthenticated("the share link has been revoked, or has expired")
            return None
        if row["canvas_id"] != canvas_id:
            if caller.is_visitor:
                raise Forbidden("the share link is for another canvas")
            return None
        return LinkRole(row["role"]).canvas_role

    async def shared_by(self, user_ids: list[str]) -> list[str]:
        """Forget auth's answers about these users. Return the ids of the canvases for which the users created links."""
        self._creators.forget(user_ids)
        rows = await self._database.rows("canvases_shared_by", user_ids)
        return [row["canvas_id"] for row in rows]

    async def forget_expired_later(self) -> None:
        """Wait `PERIOD_SECONDS`, then remove expired links. This is a step to repeat in the background."""
        await asyncio.sleep(PERIOD_SECONDS)
        await remove_in_batches(lambda rows: self._database.row("forget_links", rows))


async def _require_owner(session: Session, canvas_id: str, caller: Caller) -> None:
    """Raise an error unless the caller is an owner of the canvas or an admin.

    A change of the caller's role waits until the transaction ends. Otherwise a link could be created after the end of
    all links of a demoted owner.
    """
    if await session.row("lock_shared_canvas", canvas_id) is None:
        raise no_such_canvas()
    row = await session.row("lock_sharer", canvas_id, caller.user_id)
    member = None if row is None else CanvasRole(row["role"])
    if effective_role(caller.role, member) is not CanvasRole.OWNER:
        raise Forbidden("only an owner of the canvas may share it")


def hash_of(token: str) -> bytes:
    """Return the SHA-256 of a token, which is stored in place of the token."""
    return hashlib.sha256(token.encode()).digest()


def _link(row: Row) -> LinkInfo:
    return LinkInfo(
        id=row["id"],
        canvas_id=row["canvas_id"],
        role=LinkRole(row["role"]),
        label=row["label"],
        prefix=row["prefix"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
