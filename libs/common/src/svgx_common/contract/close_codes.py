"""The close code table: every code with which the gateway closes a WebSocket.

Clients of this field treat 4400 to 4499 as final and come back after 1012 (at once) and 1013 (after a pause).
"""

from enum import IntEnum

from svgx_common.contract.errors import Forbidden, NotFound, SvgxError, Unauthenticated


class Close(IntEnum):
    """Close codes. 4400 to 4499 mirror HTTP statuses; the others are defined by RFC 6455 and IANA."""

    NORMAL = 1000
    TOO_LARGE = 1009
    INTERNAL = 1011
    RESTARTING = 1012
    OVERLOADED = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    HANDSHAKE_TIMEOUT = 4408
    TOO_MANY = 4429
    """Too many connections of one account, or too many frames or bytes on one connection."""


def close_code(error: SvgxError) -> Close:
    """Return the close code for an error. An error that may pass by itself is `OVERLOADED`."""
    match error:
        case Unauthenticated():
            return Close.UNAUTHENTICATED
        case Forbidden():
            return Close.FORBIDDEN
        case NotFound():
            return Close.NOT_FOUND
        case _:
            return Close.OVERLOADED
