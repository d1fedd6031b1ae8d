"""What the canvas library refuses, as callers get it."""

import pytest

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import Invalid, SvgxError, TooLarge
from svgx_state.exports import contract_error


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
def test_code_field_and_limit(code: str, field: str, kind: type[SvgxError]) -> None:
    """Proves R-STATE-17."""
    error = contract_error(SvgRefused(code, field, 10, 11, "why"))
    assert type(error) is kind
    assert (error.detail, error.field, error.limit) == ("why", field, 10)
