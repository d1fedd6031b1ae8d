"""What an Idempotency-Key counts for."""

from svgx_common.contract import auth, state
from svgx_gateway.http.idempotency import supports_key


def test_no_fast_hash_of_a_password_is_kept() -> None:
    """Proves R-AUTH-7: a request's fingerprint would be one."""
    for operation, counts in (
        (state.CREATE_CANVAS, True),
        (auth.CHANGE_PASSWORD, False),
        (auth.CREATE_USER, False),
        (auth.LOGIN, False),
    ):
        assert operation.http is not None
        assert supports_key(operation, operation.http) is counts
