"""Who may do what on a canvas: the role a user has everywhere and the one they have on the canvas, made one."""

from svgx_common.contract.policy import CanvasRole, Role


def effective_role(role: Role, member: CanvasRole | None) -> CanvasRole | None:
    """The role on a canvas of a user with `role`, whose membership of the canvas is `member`; None without access."""
    match role:
        case Role.ADMIN:
            return CanvasRole.OWNER
        case Role.EDITOR:
            return member
        case Role.VIEWER:
            return None if member is None else CanvasRole.VIEWER
