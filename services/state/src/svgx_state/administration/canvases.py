"""The canvases of a user, and the largest canvases, for admins."""

from svgx_common.contract.administration.canvases import (
    LARGEST_CANVASES,
    USER_CANVASES,
    CanvasSize,
    LargestCanvases,
    LargestCanvasesRequest,
    SizeOrder,
    UserCanvas,
    UserCanvasesRequest,
    UserCanvasPage,
)
from svgx_common.contract.policy import CanvasRole
from svgx_common.messaging.responder import Call, Responder
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row


class CanvasAdministration:
    """The handlers of `USER_CANVASES` and `LARGEST_CANVASES`. The gateway checks that the caller is an admin."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(USER_CANVASES, self.user_canvases)
        responder.answer(LARGEST_CANVASES, self.largest_canvases)

    async def user_canvases(self, request: UserCanvasesRequest, _: Call) -> UserCanvasPage:
        """Return a page of the canvases of which a user is a member, newest first.

        The user's account may be deleted or unknown. Raises `Invalid` for a cursor that is not the `next` of a page.
        """
        listing = Listing.of(USER_CANVASES, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "memberships",
            request.user_id,
            request.limit + 1,
            after and after.at,
            after and after.id,
            request.only_owner,
        )
        page, following = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["created_at"], row["id"])
        )
        return UserCanvasPage(items=[_user_canvas(row) for row in page], next=following)

    async def largest_canvases(self, request: LargestCanvasesRequest, _: Call) -> LargestCanvases:
        """Return the largest canvases, by content or by journal. This reads the whole table of canvases."""
        rows = await self._database.rows(
            "largest_canvases", request.limit, request.by is SizeOrder.JOURNAL
        )
        return LargestCanvases(items=[_size(row) for row in rows])


def _user_canvas(row: Row) -> UserCanvas:
    return UserCanvas(
        id=row["id"],
        name=row["name"],
        role=CanvasRole(row["role"]),
        only_owner=row["only_owner"],
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _size(row: Row) -> CanvasSize:
    return CanvasSize(
        id=row["id"],
        name=row["name"],
        content_bytes=row["content_bytes"],
        journal_bytes=row["journal_bytes"],
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted=row["deleted_at"] is not None,
    )
