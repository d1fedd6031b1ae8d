"""Settings of OpenID Connect providers."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from svgx_auth.oidc.settings import OidcProvider
from svgx_auth.settings import AuthSettings
from svgx_common.contract.policy import Role

GOOD: dict[str, Any] = {
    "name": "corporate",
    "issuer": "https://id.example.org",
    "client_id": "svgx",
}


def settings(
    *providers: dict[str, Any], public_url: str = "https://draw.example.org"
) -> AuthSettings:
    return AuthSettings(
        postgres_url="postgresql://localhost/svgx",
        jwt_secret=SecretStr("s" * 32),
        public_url=public_url,
        oidc_providers=tuple(OidcProvider(**provider) for provider in providers),
    )


def test_provider_with_name_issuer_and_client_id_is_accepted() -> None:
    """Proves R-AUTH-30: with PUBLIC_URL, a name, an issuer and a client id suffice; a redirect URI replaces PUBLIC_URL.

    Several providers and local issuers are accepted.
    """
    settings(GOOD, {**GOOD, "name": "other", "issuer": "http://localhost:8080/realms/svgx"})
    settings({**GOOD, "redirect_uri": "https://draw.example.org/signed-in"}, public_url="")


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "http://id.example.org"},
        {"issuer": "id.example.org"},
        {"issuer": "https://"},
        {"issuer": "https://id.example.org/#part"},
        {"name": "a/b"},
        {"client_id": ""},
        {"scopes": "profile"},
        {"role_claim": "groups"},
        {"roles": {"drawers": "editor"}},
        {"role_claim": "groups", "roles": {"drawers": "owner"}},
        {"default_role": "admin"},
        {"unknown": 1},
        {"client_secret": "top secret", "redirect_uri": "javascript:alert(1)"},
    ],
    ids=str,
)
def test_wrong_provider_setting_stops_the_start(changed: dict[str, Any]) -> None:
    """Proves R-CONFIG-2: a wrong setting stops the start, and the error contains no secret."""
    with pytest.raises(ValidationError) as error:
        settings({**GOOD, **changed})
    assert "top secret" not in str(error.value)


@pytest.mark.parametrize(
    ("providers", "public_url"),
    [
        ((GOOD,), ""),
        ((GOOD, {**GOOD, "issuer": "https://other.example.org"}), "https://draw.example.org"),
        ((GOOD, {**GOOD, "name": "other"}), "https://draw.example.org"),
    ],
)
def test_missing_redirect_uri_or_repeated_provider_stops_the_start(
    providers: tuple[dict[str, Any], ...], public_url: str
) -> None:
    """Proves R-CONFIG-2: a missing redirect URI, and two providers with the same name or issuer, stop the start."""
    with pytest.raises(ValidationError):
        settings(*providers, public_url=public_url)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"access": {"roles": ["drawers"]}}, Role.EDITOR),
        ({"access": {"roles": "drawers"}}, Role.EDITOR),
        ({"access": {"roles": ["readers", "owners", "drawers"]}}, Role.ADMIN),
        ({"access": {"roles": ["cooks", {}, None, 7]}}, Role.VIEWER),
        ({"access": {"roles": {"drawers": True}}}, Role.VIEWER),
        ({"access": ["drawers"]}, Role.VIEWER),
        ({}, Role.VIEWER),
    ],
    ids=str,
)
def test_role_claim_gives_the_highest_matching_role(claims: dict[str, Any], role: Role) -> None:
    """Proves R-AUTH-33: a nested claim has one name or a list. The highest matching role, else the default, applies."""
    roles = {"owners": Role.ADMIN, "drawers": Role.EDITOR, "readers": Role.VIEWER}
    provider = OidcProvider(**GOOD, role_claim="access.roles", roles=roles)
    assert provider.role_of(claims) is role


def test_unmatched_claims_give_no_role_if_there_is_no_default_role() -> None:
    """Proves R-AUTH-33: if no default role is set, claims without a matching name give no role."""
    provider = OidcProvider(
        **GOOD, role_claim="groups", roles={"drawers": Role.EDITOR}, default_role=None
    )
    assert provider.role_of({"groups": ["cooks"]}) is None
