"""Sign-in at an OpenID Connect provider: models and operations, all of them for a person's browser."""

from typing import Annotated

from pydantic import ConfigDict, StringConstraints

from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.operation import Http, Identifier, Operation, Redirect, RequestModel
from svgx_common.contract.policy import RateClass, Scope

_Text = StringConstraints(max_length=4096, pattern=r"^[\x20-\x7e]*$")


class OidcLoginRequest(RequestModel):
    """`provider` is one of the configured names."""

    provider: Identifier


class OidcCallbackRequest(RequestModel):
    """What the provider says by way of the browser (RFC 6749, 4.1.2; RFC 9207), and what the browser remembers.

    Providers add parameters of their own; they are not looked at.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    provider: Identifier
    browser: Annotated[str, _Text] | None = None
    state: Annotated[str, _Text] | None = None
    code: Annotated[str, _Text] | None = None
    iss: Annotated[str, _Text] | None = None
    error: Annotated[str, _Text] | None = None


OIDC_LOGIN = Operation(
    subject="svgx.auth.oidc.login",
    summary="Go to an OpenID Connect provider to sign in",
    request=OidcLoginRequest,
    reply=Redirect,
    scope=Scope.PUBLIC,
    http=Http("GET", "/auth/oidc/{provider}/login", status=303, cookie="browser"),
    rate=RateClass.LOGIN,
    timeout=15.0,
    outside=True,
    errors=(NotFound, TooManyRequests),
)
OIDC_CALLBACK = Operation(
    subject="svgx.auth.oidc.callback",
    summary="Come back from an OpenID Connect provider, signed in",
    request=OidcCallbackRequest,
    reply=Tokens,
    scope=Scope.PUBLIC,
    http=Http("GET", "/auth/oidc/{provider}/callback", cookie="browser"),
    rate=RateClass.LOGIN,
    timeout=15.0,
    outside=True,
    errors=(BadRequest, Forbidden, NotFound, TooManyRequests, Unauthenticated),
)
