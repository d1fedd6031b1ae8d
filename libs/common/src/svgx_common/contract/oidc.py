"""Sign-in at an OpenID Connect provider: models and operations. The user's browser sends the requests."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.fields import patterns
from svgx_common.contract.operation import Http, Identifier, Operation, Redirect, RequestModel
from svgx_common.contract.policy import RateClass, Scope

_Text = StringConstraints(max_length=4096, pattern=patterns.PRINTABLE)

ProviderName = Annotated[Identifier, Field(examples=["corporate"])]


class OidcLoginRequest(RequestModel):
    """`provider` is the configured name of a provider."""

    provider: ProviderName


class OidcCallbackRequest(RequestModel):
    """The provider's answer, which the browser carries (RFC 6749, 4.1.2; RFC 9207).

    `browser` is the value of the cookie from `OIDC_LOGIN`: it shows that the same browser began the sign-in. Parameters
    that providers add are ignored.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    provider: ProviderName
    browser: Annotated[str, _Text] | None = None
    state: Annotated[str, _Text] | None = None
    code: Annotated[str, _Text] | None = None
    iss: Annotated[str, _Text] | None = None
    error: Annotated[str, _Text] | None = None


OIDC_LOGIN = Operation(
    subject="svgx.auth.oidc.login",
    summary="Redirect the browser to an OpenID Connect provider",
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
    summary="Sign in with the answer of an OpenID Connect provider",
    request=OidcCallbackRequest,
    reply=Tokens,
    scope=Scope.PUBLIC,
    http=Http("GET", "/auth/oidc/{provider}/callback", cookie="browser"),
    rate=RateClass.LOGIN,
    timeout=15.0,
    outside=True,
    errors=(BadRequest, Forbidden, NotFound, TooManyRequests, Unauthenticated),
)
