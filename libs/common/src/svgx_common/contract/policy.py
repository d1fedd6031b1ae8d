"""The roles and scopes that admit callers, and the rate-limit classes and pools of operations."""

from enum import StrEnum


class Role(StrEnum):
    """A user's role in the whole system. Each role includes the rights of the roles after it."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"

    def least(self, other: "Role") -> "Role":
        """Return the role with fewer rights."""
        order = list(Role)
        return max(self, other, key=order.index)


class CanvasRole(StrEnum):
    """A user's role on one canvas. Each role includes the rights of the roles after it."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"

    def allows(self, needed: "CanvasRole") -> bool:
        """Return whether this role is `needed` or a higher one."""
        return _RIGHTS[self] >= _RIGHTS[needed]


_RIGHTS = {role: number for number, role in enumerate(reversed(CanvasRole))}
"""The roles on a canvas, each with a number. A role with more rights has a higher number."""


class Scope(StrEnum):
    """The callers that an operation admits."""

    PUBLIC = "public"
    """All callers, with or without a token."""
    SIGNED_IN = "signed_in"
    CREATE = "create"
    """Admins and editors."""
    ADMIN = "admin"
    INTERNAL = "internal"
    """Services only. The gateway has no route for such an operation."""

    def admits(self, role: Role) -> bool:
        """Return whether a signed-in caller with this role may call the operation."""
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
    """Rate-limit classes. The operations of one class share one limit."""

    READ = "read"
    WRITE = "write"
    LOGIN = "login"
    HEAVY = "heavy"
    """Imports, exports and other operations that occupy a worker process each; reads of a whole table; purges."""
    UNLIMITED = "unlimited"
    """Operations with which an admin reads and changes the limits. They must work when a limit is too low."""
    INTERNAL = "internal"
    """Operations between services. They have no limit."""


class Pool(StrEnum):
    """Pools of slots in a service. A running operation takes a slot. The gateway has a circuit breaker for each pool.

    Operations of different cost never share a pool, because expensive work would then delay cheap work.
    """

    QUICK = "quick"
    INTERNAL = "internal"
    """Quick operations between services, such as the commit of edits."""
    HEAVY = "heavy"
    PASSWORD = "password"
    """Operations that hash a password for each request, which takes a core for 20 ms or more."""
    OUTSIDE = "outside"
    """Operations with a handler that waits for an external system."""
    HEAVY_WAITING = "heavy_waiting"
    """Heavy operations with a handler that also waits for an external system or another service."""
    ASKING = "asking"
    """Quick operations with a handler that waits for another service."""
