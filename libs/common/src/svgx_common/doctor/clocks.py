"""The difference between this machine's clock and the clock of another machine."""

from svgx_common.doctor.findings import Finding, failed, ok, warning
from svgx_common.tokens.access_tokens import LEEWAY_SECONDS

TOLERATED_SECONDS = 1.0
"""Largest difference between two clocks without a warning, in seconds.

A request's deadline is a point in time, so a larger difference makes the request's time limit shorter or longer.
"""


def check_clock(name: str, ahead: float, uncertainty: float) -> Finding:
    """Return the result for a clock that is `ahead` seconds ahead of this one, within `uncertainty` seconds."""
    check, difference = f"{name} clock", max(0.0, abs(ahead) - uncertainty)
    direction = "ahead of" if ahead > 0 else "behind"
    detail = f"{abs(ahead):.1f} s {direction} this machine"
    fix = (
        "Synchronize the clocks of all machines (NTP): tokens and deadlines are compared with them."
    )
    if difference > LEEWAY_SECONDS:
        return failed(check, detail, fix)
    if difference > TOLERATED_SECONDS:
        return warning(check, detail, fix)
    return ok(check, "agrees with the clock of this machine")
