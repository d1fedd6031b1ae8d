"""The result of authentication."""

from dataclasses import dataclass

from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.caller import Caller

NEVER = 32_503_680_000
"""The Unix time of the year 3000, at which a credential without an end expires."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, and the Unix time in seconds at which the caller's token, API key or share link expires.

    `link_expires_at` is the Unix time at which the share link of a caller with an account expires. It is None
    without a link, and for a link without an end. After this time, the caller has only the role of the account.

    `link_error` is the error of the look-up of the link, when it is not known whether the link is valid. The caller
    then has no link.
    """

    caller: Caller
    expires_at: float
    link_expires_at: float | None = None
    link_error: SvgxError | None = None
