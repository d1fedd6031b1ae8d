"""The result of a check of credentials."""

from dataclasses import dataclass

from svgx_common.messaging.caller import Caller


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, and the Unix time in seconds at which the caller's token or API key expires."""

    caller: Caller
    expires_at: int
