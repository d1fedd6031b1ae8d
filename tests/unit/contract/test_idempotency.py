"""The operations that support an `Idempotency-Key`."""

from svgx_common.contract import auth, state


def test_operations_with_a_password_do_not_support_keys() -> None:
    """Requests with a password support no key, because their fingerprint would be a fast hash of the password.

    Proves R-AUTH-7.
    """
    for operation, supported in (
        (state.CREATE_CANVAS, True),
        (auth.CHANGE_PASSWORD, False),
        (auth.CREATE_USER, False),
        (auth.LOGIN, False),
    ):
        assert operation.supports_idempotency_key is supported
