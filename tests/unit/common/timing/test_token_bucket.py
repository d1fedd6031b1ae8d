"""The token bucket."""

import pytest

from svgx_common.timing.token_bucket import TokenBucket


def test_bucket_refills_and_may_owe_tokens() -> None:
    """The bucket holds at most `burst` tokens. It owes tokens that were taken but not present. Proves R-LIMIT-10."""
    bucket = TokenBucket(10, 20, now=100.0)
    bucket.take(20)
    assert bucket.seconds_until(1, 100.0) == pytest.approx(0.1)
    bucket.take(10)
    assert bucket.seconds_until(1, 100.0) == pytest.approx(1.1)
    assert bucket.seconds_until(20, 1000.0) == 0
    assert bucket.seconds_until(21, 1000.0) == pytest.approx(0.1)
