"""The shapes everything else is declared with: an operation, its HTTP form, raw bodies."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from svgx_common.contract.errors import SvgxError
from svgx_common.contract.policy import CanvasRole, RateClass, Scope

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A version or revision: no larger than every JSON reader has it exactly (RFC 8259, 6); PostgreSQL has it as well."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An id as it stands in a URL and in a NATS subject: no dots, no wildcards, no spaces."""


class RequestModel(BaseModel):
    """Base of every request. Fields named in the path come from it; the rest is query (GET, DELETE) or body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RawRequest(RequestModel):
    """A request whose HTTP body is taken as bytes. `content` travels as the message's payload, not as JSON."""

    content: bytes = Field(default=b"", exclude=True)


class ReplyModel(BaseModel):
    """Base of every JSON reply. Unknown fields are ignored, so an older reader survives a newer writer."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Empty(ReplyModel):
    """A reply without content: HTTP 204."""


class Redirect(ReplyModel):
    """A reply that sends the browser elsewhere, and gives it something to remember for `seconds`.

    What it remembers is in the cookie that the operation's HTTP form names.
    """

    location: str
    remember: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A reply that is bytes of a media type, such as an export."""

    content: bytes
    media_type: str = "application/octet-stream"
    filename: str | None = None


Request = TypeVar("Request", bound=RequestModel)
Reply = TypeVar("Reply", bound=ReplyModel | Blob)


@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP form of an operation. `path` has `{name}` for each request field it carries.

    `consumes` and `produces` are media types; those of a `Blob` are its own.

    `cookie` is what a `Redirect` makes the browser remember; a request field of this name comes from there, and from
    nowhere else.
    """

    method: str
    path: str
    status: int = 200
    consumes: tuple[str, ...] = ("application/json",)
    produces: tuple[str, ...] = ("application/json",)
    cookie: str | None = None

    @property
    def cookie_name(self) -> str:
        """What the cookie is called."""
        return f"svgx_{self.cookie}"

    @property
    def cookie_path(self) -> str:
        """The paths it is sent to: those that begin as this one does."""
        return self.path.partition("/{")[0]

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Names of the request fields the path carries, in order."""
        return tuple(re.findall(r"{(\w+)}", self.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Request, Reply]):
    """One operation, declared once: routes, handlers, calls, OpenAPI and NATS permissions are read from here.

    `timeout` is in seconds and is the caller's whole patience; it travels as an absolute deadline. `canvas_role` is
    the role the caller must have on the canvas named by the request's `canvas_id`. `max_body` is in bytes,
    and by default as much as a few fields need: who validates a large body does nothing else meanwhile. A `secret`
    reply is shown once, and kept nowhere. One that waits for somebody `outside` of the system says `unavailable` when
    nobody answers there, which says nothing about the service.
    """

    subject: str
    summary: str
    request: type[Request]
    reply: type[Reply]
    scope: Scope
    http: Http | None = None
    canvas_role: CanvasRole | None = None
    rate: RateClass = RateClass.READ
    timeout: float = 10.0
    max_body: int = 16 * 1024
    secret: bool = False
    outside: bool = False
    errors: tuple[type[SvgxError], ...] = field(default=())

    @property
    def service(self) -> str:
        """The service that answers: the subject's second part."""
        return self.subject.split(".")[1]

    @property
    def name(self) -> str:
        """The subject without its `svgx.` prefix, e.g. `state.canvas.create`."""
        return self.subject.removeprefix("svgx.")


AnyOperation = Operation[RequestModel, ReplyModel | Blob]
