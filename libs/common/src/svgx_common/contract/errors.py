"""The error table: every error that may cross a service boundary, with its code and HTTP status.

The first line of a class's docstring is the title people read. Raise with a `detail` that says what to do about
it, and name the `field` and `limit` when the caller's input is at fault. Nothing else of an exception ever leaves
a service.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError


class FieldError(BaseModel):
    """One field of a request that is not as it should be."""

    model_config = ConfigDict(extra="forbid")

    field: str
    detail: str


class ErrorBody(BaseModel):
    """How an error travels: over NATS as it is, over HTTP inside `application/problem+json`."""

    model_config = ConfigDict(extra="ignore")

    code: str
    detail: str
    field: str | None = None
    limit: int | float | str | None = None
    retry_after: float | None = None
    errors: list[FieldError] | None = None


class SvgxError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        detail: str = "",
        *,
        field: str | None = None,
        limit: int | float | str | None = None,
        retry_after: float | None = None,
        errors: list[FieldError] | None = None,
    ) -> None:
        """`retry_after` is in seconds; `field` names the input at fault, `limit` what it broke."""
        self.detail = detail or self.title()
        self.field = field
        self.limit = limit
        self.retry_after = retry_after
        self.errors = errors
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def body(self) -> ErrorBody:
        """The error as it travels."""
        return ErrorBody(
            code=self.code,
            detail=self.detail,
            field=self.field,
            limit=self.limit,
            retry_after=self.retry_after,
            errors=self.errors,
        )


PROBLEM_MEDIA_TYPE = "application/problem+json"


def problem_document(error: SvgxError, trace_id: str) -> dict[str, Any]:
    """Return an error as a problem document (RFC 9457) with its code and the trace id."""
    return {
        "type": f"urn:svgx:problem:{error.code}",
        "title": error.title(),
        "status": error.status,
        **error.body().model_dump(exclude_none=True),
        "trace_id": trace_id,
    }


class BadRequest(SvgxError):
    """The request cannot be read."""

    code = "bad_request"
    status = 400


class Unauthenticated(SvgxError):
    """A valid access token is needed."""

    code = "unauthenticated"
    status = 401


class InvalidCredentials(SvgxError):
    """The username or the password is wrong."""

    code = "invalid_credentials"
    status = 401


class Forbidden(SvgxError):
    """Your role does not allow this."""

    code = "forbidden"
    status = 403


class NotFound(SvgxError):
    """There is no such thing, or it is not yours to see."""

    code = "not_found"
    status = 404


class MethodNotAllowed(SvgxError):
    """The path does not answer this method."""

    code = "method_not_allowed"
    status = 405


class RequestTimeout(SvgxError):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408


class Conflict(SvgxError):
    """The request does not fit what is stored."""

    code = "conflict"
    status = 409


class TooLarge(SvgxError):
    """The request is larger than the limit."""

    code = "too_large"
    status = 413


class UnsupportedMedia(SvgxError):
    """The body's media type is not one this operation reads."""

    code = "unsupported_media_type"
    status = 415


class Invalid(SvgxError):
    """A field of the request is not as it should be."""

    code = "invalid"
    status = 422


class TooManyRequests(SvgxError):
    """The rate limit is reached."""

    code = "too_many_requests"
    status = 429


class Internal(SvgxError):
    """Something went wrong on our side; the trace id finds it in the logs."""

    code = "internal"
    status = 500


class Unavailable(SvgxError):
    """A part of the system is not reachable at the moment; try again."""

    code = "unavailable"
    status = 503


class Overloaded(SvgxError):
    """Too much is in flight at the moment; try again with back-off."""

    code = "overloaded"
    status = 503


class DeadlineExceeded(SvgxError):
    """The operation did not finish within its time limit."""

    code = "deadline_exceeded"
    status = 504


def _table(root: type[SvgxError]) -> dict[str, type[SvgxError]]:
    table = {root.code: root}
    for sub in root.__subclasses__():
        table.update(_table(sub))
    return table


ERRORS: dict[str, type[SvgxError]] = _table(SvgxError)
"""Every error by its code."""


def from_body(body: ErrorBody) -> SvgxError:
    """The exception a travelling error stands for; an unknown code becomes `Internal`."""
    kind = ERRORS.get(body.code, Internal)
    return kind(
        body.detail,
        field=body.field,
        limit=body.limit,
        retry_after=body.retry_after,
        errors=body.errors,
    )


MAX_FIELD_ERRORS = 50
"""Wrong fields named in one answer; a request of many thousands would have an answer many times its size."""

MAX_FIELD_NAME = 200
"""Characters of a field's name in an answer: the caller chooses it."""


def from_validation(error: ValidationError) -> Invalid:
    """`Invalid` naming the wrong fields, without echoing the values given (they may be secrets)."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        FieldError(
            field=".".join(str(part) for part in item["loc"])[:MAX_FIELD_NAME] or "body",
            detail=item["msg"],
        )
        for item in found[:MAX_FIELD_ERRORS]
    ]
    first = fields[0]
    return Invalid(f"{first.field}: {first.detail}", field=first.field, errors=fields)
