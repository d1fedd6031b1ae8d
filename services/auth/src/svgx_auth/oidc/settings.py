"""Settings of one OpenID Connect provider."""

import ipaddress
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from svgx_common.contract.operation import Identifier
from svgx_common.contract.policy import Role


def url(text: str) -> str:
    """An address with a host, over TLS unless the host is this machine. Raises `ValueError`."""
    parts = urlsplit(text)
    if parts.scheme == "https" and parts.hostname and not parts.fragment:
        return text
    if (
        parts.scheme == "http"
        and parts.hostname
        and not parts.fragment
        and _is_local(parts.hostname)
    ):
        return text
    raise ValueError("must be a URL like https://host/path; http only for localhost")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class OidcProvider(BaseModel):
    """A provider, as its operator has registered this product there.

    `name` is in the paths. Without `client_secret` this is a public client. `redirect_uri` is the registered one, if
    it is not `PUBLIC_URL/auth/oidc/<name>/callback`. `role_claim` is where the provider says what somebody is (dots
    lead into objects), `roles` what that means here: the highest that fits counts, at every sign-in. `default_role`
    is for everybody else, and None lets nobody else in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Identifier
    issuer: Annotated[str, AfterValidator(url)]
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    redirect_uri: Annotated[str, AfterValidator(url)] | None = None
    scopes: str = "openid profile email"
    role_claim: str | None = None
    roles: dict[str, Role] = {}
    default_role: Role | None = Role.VIEWER

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if "openid" not in self.scopes.split():
            raise ValueError("scopes: must have `openid`")
        if (self.role_claim is None) != (not self.roles):
            raise ValueError("role_claim and roles: one needs the other")
        if self.default_role is Role.ADMIN:
            raise ValueError("default_role: would make an admin of everybody")
        return self

    def role_of(self, claims: dict[str, Any]) -> Role | None:
        """The role these claims mean; None lets nobody in."""
        found: Any = claims
        for part in (self.role_claim or "").split("."):
            found = found.get(part) if isinstance(found, dict) else None
        said = found if isinstance(found, list) else [found]
        meant = {self.roles[each] for each in said if isinstance(each, str) and each in self.roles}
        for role in (Role.ADMIN, Role.EDITOR, Role.VIEWER):
            if role in meant:
                return role
        return self.default_role
