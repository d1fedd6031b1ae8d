"""The limits in force: the limits that an admin has stored, and this gateway's settings for the other classes."""

from ipaddress import ip_network

from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import ClassLimits, RateLimit, RateLimits
from svgx_gateway.ratelimit.key import RateLimitKey


class Rules:
    """One version of the limits. The object is immutable; a new version is a new object."""

    def __init__(self, defaults: ClassLimits, stored: RateLimits) -> None:
        self._limits = {**defaults, **stored.limits}
        self._stored = stored
        self._users = frozenset(stored.whitelist.users)
        self._networks = [ip_network(each) for each in stored.whitelist.networks]

    @property
    def version(self) -> int:
        """The version of the stored limits."""
        return self._stored.version

    def limit(self, rate_class: RateClass, key: RateLimitKey) -> RateLimit | None:
        """Return the limit of a class for a key: the limit of the key's role, or the limit of the class.

        None means unlimited.
        """
        if rate_class is RateClass.UNLIMITED or rate_class is RateClass.INTERNAL:
            return None
        if self._is_exempt(key):
            return None
        role_limits = self._stored.roles.get(key.role, {}) if key.role else {}
        return role_limits.get(rate_class) or self._limits[rate_class]

    def in_force(self) -> RateLimits:
        """Return the stored limits, with this gateway's settings for the classes without a stored limit."""
        return self._stored.model_copy(update={"limits": self._limits})

    def _is_exempt(self, key: RateLimitKey) -> bool:
        if key.user_id in self._users:
            return True
        address = key.address
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )
