"""The close code table: every code with which the gateway closes a WebSocket.

y-websocket does not reconnect after 4400 to 4499. Other clients should do the same, reconnect at once after 1012, and
reconnect after a pause when the code is 1013.
"""

from enum import IntEnum
from typing import Self

from svgx_common.contract.errors import Forbidden, NotFound, SvgxError, Unauthenticated


class Close(IntEnum):
    """Close codes. 4400 to 4499 mirror HTTP statuses; the others are defined by RFC 6455 and IANA."""

    summary: str

    def __new__(cls, code: int, summary: str) -> Self:
        """Create a member with the code as its value."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.summary = summary
        return member

    NORMAL = 1000, "the client has left"
    TOO_LARGE = 1009, "a message is larger than the limit"
    INTERNAL = 1011, "the gateway failed"
    RESTARTING = 1012, "the gateway restarts; come back at once"
    OVERLOADED = 1013, "the service is overloaded or unavailable; come back later"
    BAD_MESSAGE = 4400, "a message is malformed"
    UNAUTHENTICATED = 4401, "the token is missing, expired or revoked"
    FORBIDDEN = 4403, "the caller's role does not allow this"
    NOT_FOUND = 4404, "the canvas does not exist"
    HANDSHAKE_TIMEOUT = 4408, "the client sent no message in time"
    TOO_MANY = (
        4429,
        "too many connections of one account, or too many frames or bytes on one connection",
    )


def close_code(error: SvgxError) -> Close:
    """Return the close code for an error.

    Errors without a close code of their own give `OVERLOADED`, because they may pass by themselves.
    """
    match error:
        case Unauthenticated():
            return Close.UNAUTHENTICATED
        case Forbidden():
            return Close.FORBIDDEN
        case NotFound():
            return Close.NOT_FOUND
        case _:
            return Close.OVERLOADED
