"""The contract's errors for refusals of the canvas library."""

import pytest

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import Invalid, SvgxError, TooLarge
from svgx_state.worker_errors import refusal_error


@pytest.mark.parametrize(
    ("code", "field", "kind"),
    [
        ("too_large", "elements", TooLarge),
        ("too_large", "pixels", TooLarge),
        ("too_large", "width", Invalid),
        ("too_large", "height", Invalid),
        ("too_large", "scale", Invalid),
        ("malformed", "state", Invalid),
        ("forbidden", "entities", Invalid),
        ("unrenderable", "svg", Invalid),
    ],
)
def test_refusal_becomes_an_error_with_its_field_and_limit(
    code: str, field: str, kind: type[SvgxError]
) -> None:
    """Content over a limit is `TooLarge`. All other refusals are `Invalid`.

    A requested width over its limit is no content, so it is `Invalid` too.

    The error has the detail, the field and the limit of the refusal.

    Proves R-STATE-17.
    """
    error = refusal_error(SvgRefused(code, field, 10, 11, "reason"))
    assert type(error) is kind
    assert (error.detail, error.field, error.limit) == ("reason", field, 10)
