"""The limits in force: what admins have set, over this gateway's settings."""

from ipaddress import ip_network

from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import ClassLimits, RateLimit, RateLimits
from svgx_gateway.ratelimit.key import RateLimitKey


class Rules:
    """Looks up limits. Immutable: a change makes new ones."""

    def __init__(self, defaults: ClassLimits, stored: RateLimits) -> None:
        self._limits = {**defaults, **stored.limits}
        self._stored = stored
        self._users = frozenset(stored.whitelist.users)
        self._networks = [ip_network(each) for each in stored.whitelist.networks]

    @property
    def version(self) -> int:
        """The version of what was set."""
        return self._stored.version

    def limit(self, rate_class: RateClass, rate_limit_key: RateLimitKey) -> RateLimit | None:
        """The limit of this class for this rate_limit_key, a role's before the general one; None when there is none."""
        if rate_class is RateClass.UNLIMITED or rate_class is RateClass.INTERNAL:
            return None
        if self._exempt(rate_limit_key):
            return None
        of_role = self._stored.roles.get(rate_limit_key.role, {}) if rate_limit_key.role else {}
        return of_role.get(rate_class) or self._limits[rate_class]

    def in_force(self) -> RateLimits:
        """All of it, with the settings filled in."""
        return self._stored.model_copy(update={"limits": self._limits})

    def _exempt(self, rate_limit_key: RateLimitKey) -> bool:
        if rate_limit_key.user_id in self._users:
            return True
        address = rate_limit_key.address
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )
