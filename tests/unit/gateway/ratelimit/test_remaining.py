"""The tokens that a gateway knows to remain in each bucket."""

import pytest

from svgx_common.contract.ratelimits import RateLimit
from svgx_gateway.ratelimit import remaining
from svgx_gateway.ratelimit.remaining import RemainingTokens

LIMIT = RateLimit(requests=10, seconds=60)


@pytest.mark.parametrize(("left", "taken"), [(0, 0), (5, 0), (6, 1), (10, 5)])
def test_tokens_are_taken_down_to_half_of_the_limit(left: int, taken: int) -> None:
    """At most half as many requests as the limit allows are forwarded before they are counted. Proves R-LIMIT-17."""
    tokens = RemainingTokens()
    tokens.set("key", left)
    assert [tokens.take("key", LIMIT) for _ in range(10)] == [True] * taken + [False] * (10 - taken)


def test_bucket_without_a_count_has_no_known_tokens() -> None:
    """A gateway does not know the use at other gateways. Proves R-LIMIT-17."""
    tokens = RemainingTokens()
    tokens.set("key", 10)
    assert not tokens.take("other", LIMIT)


def test_least_recently_counted_bucket_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for buckets is bounded."""
    monkeypatch.setattr(remaining, "MAX_KEYS", 2)
    tokens = RemainingTokens()
    for key in ("a", "b", "a", "c"):
        tokens.set(key, 10)
    assert [tokens.take(key, LIMIT) for key in "abc"] == [True, False, True]
