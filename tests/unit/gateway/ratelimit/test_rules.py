"""The limit that is in force for a rate-limit key."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from svgx_common.contract.policy import RateClass, Role
from svgx_common.contract.ratelimits import ClassLimits, RateLimit, RateLimits, SetRateLimitsRequest
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.ratelimit.rules import Rules

FEW, MANY, OTHER = RateLimit(requests=1), RateLimit(requests=9), RateLimit(requests=5, seconds=10)
DEFAULTS: ClassLimits = {
    RateClass.READ: FEW,
    RateClass.WRITE: FEW,
    RateClass.LOGIN: FEW,
    RateClass.HEAVY: FEW,
}
STORED = RateLimits.model_validate(
    {
        "version": 3,
        "limits": {"read": OTHER},
        "roles": {"admin": {"write": MANY}},
        "whitelist": {"users": ["robot"], "networks": ["10.1.0.0/16", "2001:db8::/32"]},
    }
)
ANONYMOUS = RateLimitKey("address:192.0.2.1", ip_address("192.0.2.1"))
ADMIN = RateLimitKey("user:a", ip_address("192.0.2.1"), "a", Role.ADMIN)
EDITOR = RateLimitKey("user:e", ip_address("192.0.2.1"), "e", Role.EDITOR)


@pytest.mark.parametrize(
    ("rate_class", "rate_limit_key", "limit"),
    [
        (RateClass.HEAVY, ANONYMOUS, FEW),
        (RateClass.READ, ANONYMOUS, OTHER),
        (RateClass.READ, ADMIN, OTHER),
        (RateClass.WRITE, ADMIN, MANY),
        (RateClass.WRITE, EDITOR, FEW),
        (RateClass.UNLIMITED, ADMIN, None),
    ],
)
def test_role_limit_overrides_the_general_limit(
    rate_class: RateClass, rate_limit_key: RateLimitKey, limit: RateLimit | None
) -> None:
    """A role's limit overrides the general limit, and stored limits override the settings. Proves R-LIMIT-4."""
    assert Rules(DEFAULTS, STORED).limit(rate_class, rate_limit_key) == limit


@pytest.mark.parametrize(
    ("rate_limit_key", "exempt"),
    [
        (RateLimitKey("user:robot", ip_address("192.0.2.1"), "robot", Role.EDITOR), True),
        (RateLimitKey("user:e", ip_address("10.1.2.3"), "e", Role.EDITOR), True),
        (RateLimitKey("address:10.1.2.3", ip_address("10.1.2.3")), True),
        (RateLimitKey("address:x", ip_address("2001:db8:7::1")), True),
        (RateLimitKey("address:10.2.0.1", ip_address("10.2.0.1")), False),
        (RateLimitKey("address:unknown", None), False),
        (EDITOR, False),
    ],
)
def test_whitelisted_accounts_and_networks_have_no_limit(
    rate_limit_key: RateLimitKey, exempt: bool
) -> None:
    """Whitelisted accounts and networks are not limited. Proves R-LIMIT-4."""
    assert (Rules(DEFAULTS, STORED).limit(RateClass.READ, rate_limit_key) is None) == exempt


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"limits": {"read": {"requests": 0}}}, "limits.read.requests"),
        ({"limits": {"raed": {"requests": 1}}}, "limits.raed.[key]"),
        ({"limits": {"unlimited": {"requests": 1}}}, "limits.unlimited.[key]"),
        ({"roles": {"boss": {}}}, "roles.boss.[key]"),
        ({"whitelist": {"networks": ["10.0.0.0/33"]}}, "whitelist.networks.0"),
        ({"whitelist": {"adresses": []}}, "whitelist.adresses"),
    ],
)
def test_error_names_the_field_of_a_wrong_limit(wrong: dict[str, object], field: str) -> None:
    """A wrong limit is refused with the path of its field. Proves R-HTTP-2."""
    with pytest.raises(ValidationError) as caught:
        SetRateLimitsRequest.model_validate(wrong)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == field
