"""The outcome of an operation for the audit log."""

import pytest

from svgx_common.contract.errors import DeadlineExceeded, Internal, NotFound, SvgxError, Unavailable
from svgx_common.messaging.bus import BusUnreachable, NoResponders
from svgx_gateway import audit


@pytest.mark.parametrize(
    ("error", "is_unknown"),
    [
        (DeadlineExceeded(), True),
        (Unavailable(), True),
        (Internal(), True),
        (BusUnreachable(), True),
        (NoResponders(), False),
        (NotFound(), False),
    ],
)
def test_outcome_is_unknown_only_when_something_may_have_changed(
    error: SvgxError, is_unknown: bool
) -> None:
    """When no service received the operation, it is certain that nothing has changed. Proves R-AUTH-21."""
    assert audit.is_outcome_unknown(error) is is_unknown
