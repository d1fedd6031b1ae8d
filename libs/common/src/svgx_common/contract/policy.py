"""Who may call an operation, and which rate-limit class it counts against."""

from enum import StrEnum


class Role(StrEnum):
    """What a user may do at all. Each role may do what those after it may."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"

    def least(self, other: "Role") -> "Role":
        """The one of the two that may do less."""
        order = list(Role)
        return max(self, other, key=order.index)


class CanvasRole(StrEnum):
    """What a user may do on one canvas. Each role may do what those after it may."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"

    def allows(self, needed: "CanvasRole") -> bool:
        """Whether this role is at least `needed`."""
        order = list(CanvasRole)
        return order.index(self) <= order.index(needed)


class Scope(StrEnum):
    """Who may call an operation."""

    PUBLIC = "public"
    """Nobody has to be signed in."""
    SIGNED_IN = "signed_in"
    CREATE = "create"
    """Admins and editors."""
    ADMIN = "admin"
    INTERNAL = "internal"
    """Services only: the gateway has no route for it."""

    def admits(self, role: Role) -> bool:
        """Whether a signed-in caller with this role may call."""
        match self:
            case Scope.PUBLIC | Scope.SIGNED_IN:
                return True
            case Scope.CREATE:
                return role in (Role.ADMIN, Role.EDITOR)
            case Scope.ADMIN:
                return role is Role.ADMIN
            case Scope.INTERNAL:
                return False


class RateClass(StrEnum):
    """Operations of one class share one limit."""

    READ = "read"
    WRITE = "write"
    LOGIN = "login"
    HEAVY = "heavy"
    """Imports, exports, renders: each costs a worker."""
    UNLIMITED = "unlimited"
    """What an admin needs to repair the limits themselves."""
    INTERNAL = "internal"
