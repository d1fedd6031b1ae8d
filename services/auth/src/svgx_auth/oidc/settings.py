"""Settings of one OpenID Connect provider."""

import ipaddress
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from svgx_common.contract.operation import Identifier
from svgx_common.contract.policy import Role

_URL_ERROR = "must be a URL such as https://host/path; http is allowed only for localhost"


def check_url(text: str) -> str:
    """Return `text` when it is an `https` URL, or an `http` URL of this machine. Raises `ValueError`."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # reading the port checks it
    except ValueError:
        # Replace the error, because its text contains parts of the URL.
        raise ValueError(_URL_ERROR) from None
    host = parts.hostname or ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_local(host))
    if not host or not is_safe or parts.fragment:
        raise ValueError(_URL_ERROR)
    return text


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class OidcProvider(BaseModel):
    """A provider at which this product is registered as a client."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Identifier
    """Name of the provider in URL paths and in the audit log."""
    issuer: Annotated[str, AfterValidator(check_url)]
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    """Without a secret, this product is a public client."""
    redirect_uri: Annotated[str, AfterValidator(check_url)] | None = None
    """The registered redirect URI; by default `PUBLIC_URL/auth/oidc/<name>/callback`."""
    scopes: str = "openid profile email"
    role_claim: str | None = None
    """Path of the claim with the user's roles at the provider. A dot separates the names of nested objects."""
    roles: dict[str, Role] = {}
    """The account role for each role at the provider. The highest match is assigned at every sign-in."""
    default_role: Role | None = Role.VIEWER
    """The account role when no role at the provider matches. With None, the sign-in is refused."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "openid" not in self.scopes.split():
            raise ValueError("scopes: must contain `openid`")
        if (self.role_claim is None) != (not self.roles):
            raise ValueError("role_claim and roles: set both or neither")
        if self.default_role is Role.ADMIN:
            raise ValueError("default_role: must not be admin, because every user would get it")
        return self

    def role_of(self, claims: dict[str, Any]) -> Role | None:
        """Return the account role for the claims of a user, or None when the user may not sign in."""
        claim: Any = claims
        for part in (self.role_claim or "").split("."):
            claim = claim.get(part) if isinstance(claim, dict) else None
        names = claim if isinstance(claim, list) else [claim]
        roles = {self.roles[name] for name in names if isinstance(name, str) and name in self.roles}
        for role in (Role.ADMIN, Role.EDITOR, Role.VIEWER):
            if role in roles:
                return role
        return self.default_role
