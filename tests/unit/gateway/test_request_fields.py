"""The headers of a request in a dictionary."""

from starlette.types import Scope

from svgx_gateway.request_fields import fields_of, text_of


def test_first_value_of_a_repeated_header_counts() -> None:
    """Each check of a request reads the same value of the header."""
    headers = [(b"authorization", b"Bearer \xe4"), (b"authorization", b"Bearer other")]
    scope: Scope = {"type": "http", "headers": headers}
    assert fields_of(scope)[b"authorization"] == b"Bearer \xe4"
    assert text_of(scope, b"authorization") == "Bearer ä"
    assert text_of(scope, b"x-api-key") == ""
