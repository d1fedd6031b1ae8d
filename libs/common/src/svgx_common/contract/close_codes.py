"""The close code table: the codes with which the gateway closes a WebSocket.

It does not have 1002 and 1007, which the library `websockets` sends after frames that break RFC 6455.

y-websocket 3 never reconnects after a code from 4400 to 4499. So the gateway sends these codes only for conditions that
never pass by themselves. After 1012 the client should reconnect immediately; after 1011 and 1013, after a pause. 1000
means that the client has closed the connection. The table in docs/spec.md also has the Yjs clients that reconnect
after each code.
"""

from enum import IntEnum
from typing import Self

from svgx_common.contract.errors import NotFound, SvgxError


class Close(IntEnum):
    """Close codes. 4400 to 4499 mirror HTTP statuses; the others are defined by RFC 6455 and IANA."""

    summary: str

    def __new__(cls, code: int, summary: str) -> Self:
        """Create a member with the code as its value."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.summary = summary
        return member

    @property
    def is_final(self) -> bool:
        """Return whether clients should not reconnect, because the condition never passes by itself."""
        return 4400 <= self < 4500

    NORMAL = 1000, "the client has left"
    INTERNAL = 1011, "the gateway failed, or the client answered no ping; reconnect later"
    RESTARTING = (
        1012,
        "the gateway restarts, or the account of the API key has changed; reconnect immediately",
    )
    OVERLOADED = (
        1013,
        "a limit is reached, or a service is overloaded or unavailable; reconnect later",
    )
    BAD_MESSAGE = 4400, "a message is malformed"
    UNAUTHENTICATED = 4401, "the token is missing, expired or revoked"
    FORBIDDEN = 4403, "the caller's role does not allow this"
    NOT_FOUND = 4404, "the canvas does not exist"
    TOO_LARGE = 4413, "a message, or an edit in it, is beyond a limit"


_BY_STATUS = {
    401: Close.UNAUTHENTICATED,
    403: Close.FORBIDDEN,
    404: Close.NOT_FOUND,
    408: Close.OVERLOADED,
    413: Close.TOO_LARGE,
    429: Close.OVERLOADED,
    500: Close.INTERNAL,
}


def close_code(error: SvgxError) -> Close:
    """Return the close code for an error.

    An error without a close code of its own gives `BAD_MESSAGE` if the client's message is at fault, because the same
    message would fail again. It gives `OVERLOADED` if a service is at fault, because such a fault may pass by itself.
    """
    default = Close.BAD_MESSAGE if error.status < 500 else Close.OVERLOADED
    return _BY_STATUS.get(error.status, default)


def close_code_of_canvas(error: Exception) -> Close:
    """Return the close code for an error of the gateway's own request about a canvas, such as a sync.

    `NotFound` gives `NOT_FOUND`, after which clients do not reconnect. All other errors give `OVERLOADED`, because they
    are not the clients' fault.
    """
    return Close.NOT_FOUND if isinstance(error, NotFound) else Close.OVERLOADED
