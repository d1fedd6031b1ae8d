"""The classes that declare operations, their HTTP form and channels, and field types that several models share."""

import contextlib
import functools
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from svgx_common.contract.errors import SvgxError
from svgx_common.contract.fields import patterns
from svgx_common.contract.policy import CanvasRole, Pool, RateClass, Scope

ServiceName = Literal["auth", "state", "collab", "gateway"]

SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)


def _read_whole_number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(_read_whole_number)]
"""A version or revision. Every JSON reader represents numbers up to 2**53 - 1 exactly (RFC 8259, 6).

JSON has one kind of number, so 7.0 is the version 7. `Count` converts it. Otherwise the gateway would parse the body a
second time to convert its whole floats, which takes long for a large body.
"""

Identifier = Annotated[str, StringConstraints(pattern=patterns.IDENTIFIER)]
"""An id that is safe in a URL and in a NATS subject: no dots, wildcards or spaces."""

UserId = Annotated[Identifier, Field(examples=["9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f"])]

PageLimit = Annotated[int, Field(ge=1, le=200, examples=[50])]
"""Items on one page of a list."""

PageCursor = Annotated[str, StringConstraints(max_length=512)]
"""The `next` value of the page before. After a stored value with the longest key, the cursor has 286 characters."""

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:[0-5]\d)", re.ASCII
)


def _read_rfc_3339(value: Any) -> Any:
    """Return the time that an RFC 3339 text states. Raise `ValueError` for everything else except a `datetime`.

    Without this check, Pydantic also accepts a number as Unix seconds or milliseconds, and a date as its midnight.
    Bodies are validated in strict mode, in which Pydantic parses no text after a validator. So the text is parsed here.
    """
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value.upper())
    raise ValueError("must be a time like 2026-01-31T12:00:00Z (RFC 3339)")


Timestamp = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC)),
    BeforeValidator(_read_rfc_3339),
]
"""A time in a request, with its zone. Python and PostgreSQL can represent every time between the bounds."""


class RequestModel(BaseModel):
    """The base of every request.

    Fields that the HTTP path names come from the path. All others come from the query (GET, DELETE) or from the body.
    The other of the two parts must be empty.

    A message to a service leaves out the fields with default values. So an older service, which refuses fields that it
    does not know, accepts a newer caller's request that does not use a new field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def adds_content(self) -> bool:
        """Return whether the request may add content to a canvas, if its operation `writes_content`."""
        return True


def example_of(model: type[RequestModel]) -> dict[str, Any]:
    """Return the first example of each request field that has examples."""
    fields = model.model_fields.items()
    return {name: field.examples[0] for name, field in fields if field.examples}


class RawRequest(RequestModel):
    """A request with raw bytes as its HTTP body. `content` travels as the message's payload, not as JSON.

    A field `charset` comes from the parameter of this name in the Content-Type. All other fields come from the path.
    """

    content: bytes = Field(default=b"", exclude=True)


@functools.cache
def is_raw(model: type[RequestModel]) -> bool:
    """Return whether a request has raw bytes as its body. Cached, because `issubclass` takes a microsecond."""
    return issubclass(model, RawRequest)


@functools.cache
def names_canvas(model: type[RequestModel]) -> bool:
    """Return whether a request has the field `canvas_id`.

    Check this before `getattr`, which takes microseconds on a Pydantic model without the field.
    """
    return "canvas_id" in model.model_fields


class ReplyModel(BaseModel):
    """The base of every JSON reply. Unknown fields are ignored, so an older reader accepts a newer writer's reply."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Empty(ReplyModel):
    """A reply without content: HTTP 204."""


class Redirect(ReplyModel):
    """A reply that redirects the browser to `location`, and sets a cookie with a lifetime of `seconds`.

    The operation's HTTP form names the cookie; `remember` is the cookie's value.
    """

    location: str
    remember: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A reply that is bytes of one media type, such as an export."""

    content: bytes
    media_type: str = "application/octet-stream"
    filename: str | None = None
    """The name for a download. It has only characters that file systems accept."""
    left_out: str | None = None
    """The value of the header `Svgx-Left-Out`: the stored data that `content` lacks. None when nothing is left out."""


Request = TypeVar("Request", bound=RequestModel)
Reply = TypeVar("Reply", bound=ReplyModel | Blob)


@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP form of an operation. `path` contains `{name}` for each request field that it carries.

    `consumes` and `produces` are media types; a `Blob` has its own media type.

    `cookie` names the cookie that a `Redirect` sets. A request field of this name comes from the cookie only.
    """

    method: str
    path: str
    status: int = 200
    consumes: tuple[str, ...] = ("application/json",)
    produces: tuple[str, ...] = ("application/json",)
    cookie: str | None = None

    @property
    def cookie_name(self) -> str:
        """Return the name of the cookie as browsers see it."""
        return f"svgx_{self.cookie}"

    @property
    def cookie_path(self) -> str:
        """Return the path prefix for which browsers send the cookie."""
        return self.path.partition("/{")[0]

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Return the names of the request fields in the path, in their order."""
        return tuple(re.findall(r"{(\w+)}", self.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Request, Reply]):
    """One operation. Routes, handlers, calls, OpenAPI, AsyncAPI and NATS permissions are derived from it.

    - `callers`: the services that may publish requests on `subject`.
    - `timeout`: the caller's time limit in seconds, including retries. Requests carry it as an absolute deadline.
    - `canvas_role`: the role that the caller needs on the canvas in the request's `canvas_id`.
    - `max_body`: largest body in bytes. The default is small, because validating a body blocks the event loop.
    - `secret`: the reply is shown once and is never stored.
    - `repeatable`: a second run of the operation changes nothing, so a request without an answer may be sent again.
    - `outside`: the handler waits for an external system, such as an OpenID Connect provider or Redis. An
      `unavailable` error of the operation opens no circuit breaker, because the service itself works.
    - `asks`: another service that the answering service calls. An `unavailable` error of the operation opens no circuit
      breaker, because this other service may be the cause.
    - `password`: each request of the operation hashes a password.
    - `writes_content`: the operation adds content to a canvas, so the quotas of the caller and of the canvas apply.
    - `reaches_others`: an admin may read or change data of other users with the operation. Gateways record such calls
      of admins in the audit log.
    - `json_reply`: the model of a `Blob` with the media type `application/json`. The service writes the JSON itself.
    - `needs_account`: a share link alone does not admit a caller, although a link may give the `canvas_role`.
    """

    subject: str
    summary: str
    request: type[Request]
    reply: type[Reply]
    scope: Scope
    json_reply: type[ReplyModel] | None = None
    callers: tuple[ServiceName, ...] = ("gateway",)
    http: Http | None = None
    canvas_role: CanvasRole | None = None
    rate: RateClass = RateClass.READ
    timeout: float = 10.0
    max_body: int = 16 * 1024
    secret: bool = False
    repeatable: bool = False
    outside: bool = False
    asks: ServiceName | None = None
    password: bool = False
    writes_content: bool = False
    needs_account: bool = False
    reaches_others: bool = False
    errors: tuple[type[SvgxError], ...] = field(default=())

    @property
    def service(self) -> str:
        """Return the service that answers: the second part of the subject."""
        return self.subject.split(".")[1]

    @property
    def pool(self) -> Pool:
        """Return the pool of slots that the operation uses in its service."""
        if self.rate is RateClass.HEAVY or self.writes_content:
            return Pool.HEAVY_WAITING if self.outside or self.asks else Pool.HEAVY
        if self.outside:
            return Pool.OUTSIDE
        if self.password:
            return Pool.PASSWORD
        if self.asks is not None:
            return Pool.ASKING
        return Pool.INTERNAL if self.scope is Scope.INTERNAL else Pool.QUICK

    @property
    def admits_links(self) -> bool:
        """Return whether a caller without an account may call the operation with a share link.

        The link's role on the canvas then decides. No link gives the role of an owner.
        """
        return self.canvas_role not in (None, CanvasRole.OWNER) and not self.needs_account

    @property
    def is_audited(self) -> bool:
        """Return whether gateways record each call in the audit log. Auth records changes of accounts itself."""
        changes = self.http is not None and self.http.method != "GET"
        return self.scope is Scope.ADMIN and changes and self.service != "auth"

    @property
    def supports_idempotency_key(self) -> bool:
        """Return whether the HTTP form supports the header `Idempotency-Key`.

        This is a POST that is not public and has no password in its request. The gateway stores a fingerprint of the
        request with the key. The fingerprint of a request with a password would be a fast hash of the password, from
        which an attacker could guess the password. Passwords are stored only as Argon2id hashes, which are slow on
        purpose.
        """
        return (
            self.http is not None
            and self.http.method == "POST"
            and self.scope is not Scope.PUBLIC
            and not any("password" in name for name in self.request.model_fields)
        )

    @property
    def name(self) -> str:
        """Return the subject without its `svgx.` prefix, such as `state.canvas.create`."""
        return self.subject.removeprefix("svgx.")


Payload = TypeVar("Payload")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel(Generic[Payload]):
    """A NATS subject that is not an operation. NATS permissions, codecs and AsyncAPI are derived from it.

    `subject` contains `{name}` for each of its parameters. `payload` is a Pydantic model, or a dataclass,
    which `svgx_common.messaging.wire` encodes field by field. With `reply`, subscribers answer with that type on the
    message's reply subject.
    """

    subject: str
    summary: str
    publishers: tuple[ServiceName, ...]
    subscribers: tuple[ServiceName, ...]
    payload: type[Payload]
    reply: type[Any] | None = None

    @property
    def codec(self) -> Literal["json", "lib0"]:
        """Return the encoding of the payload: JSON for Pydantic models, lib0 for dataclasses."""
        return "json" if issubclass(self.payload, BaseModel) else "lib0"

    @property
    def name(self) -> str:
        """Return the subject's fixed parts, such as `canvas.update`."""
        return re.sub(r"\.{\w+}", "", self.subject).removeprefix("svgx.")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the subject's parameters, in their order."""
        return tuple(re.findall(r"{(\w+)}", self.subject))

    @property
    def pattern(self) -> str:
        """Return the NATS subject with a wildcard for each parameter."""
        return self.pattern_of()

    def pattern_of(self, **parameters: str) -> str:
        """Return the NATS subject with these parameters, and with a wildcard for each other parameter."""
        return re.sub(r"{(\w+)}", lambda match: parameters.get(match[1], "*"), self.subject)

    def subject_of(self, **parameters: str) -> str:
        """Return the subject with these parameters."""
        return self.subject.format(**parameters)
