"""A user's role on a canvas, which follows from the user's global role and the user's role as a member."""

from svgx_common.contract.errors import NotFound
from svgx_common.contract.policy import CanvasRole, Role


def effective_role(role: Role, member: CanvasRole | None) -> CanvasRole | None:
    """Return a user's role on a canvas, or None without access.

    `role` is the user's global role. `member` is the user's role as a member of the canvas, or None.
    """
    match role:
        case Role.ADMIN:
            return CanvasRole.OWNER
        case Role.EDITOR:
            return member
        case Role.VIEWER:
            return None if member is None else CanvasRole.VIEWER


def no_such_canvas() -> NotFound:
    """Return the error for the id of an unknown or deleted canvas."""
    return NotFound("there is no such canvas")
