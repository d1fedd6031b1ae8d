"""The close code of each error."""

import pytest

from svgx_common.contract.close_codes import Close, close_code, close_code_of_canvas
from svgx_common.contract.errors import ERRORS, NotFound, SvgxError

TEMPORARY_CODES = {
    "quota_exceeded",
    "error",
    "internal",
    "unavailable",
    "overloaded",
    "deadline_exceeded",
    "too_many_requests",
    "request_timeout",
}
"""Codes of temporary errors: the same request may succeed later."""


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_close_code_is_final_exactly_for_permanent_errors(error: type[SvgxError]) -> None:
    """y-websocket 3 reconnects after a temporary error, and stays away after a permanent one. Proves R-SOCKET-1."""
    is_temporary = error.code in TEMPORARY_CODES or error.status >= 500
    assert close_code(error()).is_final is not is_temporary


@pytest.mark.parametrize(
    ("code", "closing"),
    [
        ("bad_request", Close.BAD_MESSAGE),
        ("invalid", Close.BAD_MESSAGE),
        ("conflict", Close.BAD_MESSAGE),
        ("unsupported_media_type", Close.BAD_MESSAGE),
        ("too_large", Close.TOO_LARGE),
        ("unauthenticated", Close.UNAUTHENTICATED),
        ("invalid_credentials", Close.UNAUTHENTICATED),
        ("forbidden", Close.FORBIDDEN),
        ("not_found", Close.NOT_FOUND),
        ("request_timeout", Close.OVERLOADED),
        ("too_many_requests", Close.OVERLOADED),
        ("unavailable", Close.OVERLOADED),
        ("overloaded", Close.OVERLOADED),
        ("deadline_exceeded", Close.OVERLOADED),
        ("internal", Close.INTERNAL),
    ],
)
def test_error_has_its_close_code(code: str, closing: Close) -> None:
    """An error keeps its meaning in the close code. Proves R-SOCKET-1."""
    assert close_code(ERRORS[code]()) is closing


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_only_a_missing_canvas_is_final_for_all_its_connections(error: type[SvgxError]) -> None:
    """Other errors of the gateway's own requests are no fault of clients, so clients reconnect. Proves R-SOCKET-1."""
    assert close_code_of_canvas(error()).is_final is (error is NotFound)
