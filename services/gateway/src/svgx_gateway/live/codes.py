"""WebSocket close codes. Clients reconnect after 1012 (at once) and 1013 (with back-off); 44xx are for people."""

from enum import IntEnum

from svgx_common.contract.errors import Forbidden, NotFound, SvgxError, Unauthenticated


class Close(IntEnum):
    """Codes 4400 to 4499 mirror HTTP statuses; the others are RFC 6455's and IANA's."""

    NORMAL = 1000
    TOO_LARGE = 1009
    INTERNAL = 1011
    RESTARTING = 1012
    OVERLOADED = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404


def close_code(error: SvgxError) -> Close:
    """The close code of an error. What may pass by itself is `OVERLOADED`: come back later."""
    match error:
        case Unauthenticated():
            return Close.UNAUTHENTICATED
        case Forbidden():
            return Close.FORBIDDEN
        case NotFound():
            return Close.NOT_FOUND
        case _:
            return Close.OVERLOADED
