"""The error table: every error that may cross a service boundary, with its code and HTTP status.

The first line of a class's docstring is the title that callers read. Give each error a `detail` that says how to
correct the request, and name the `field` and the `limit` when the input is wrong. Only the fields of `ErrorBody` leave
a service; the rest of an exception does not.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from svgx_common.contract.fields.invalid_fields import field_name, reason


class FieldError(BaseModel):
    """An invalid field of a request, and the reason."""

    model_config = ConfigDict(extra="forbid")

    field: str
    detail: str


class ErrorBody(BaseModel):
    """The wire form of an error: the payload over NATS, and a part of the problem document over HTTP."""

    model_config = ConfigDict(extra="ignore")

    code: str
    detail: str
    field: str | None = None
    limit: int | float | str | None = None
    retry_after: float | None = None
    current_version: int | None = None
    errors: list[FieldError] | None = None


class SvgxError(Exception):
    """The request failed."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        detail: str = "",
        *,
        field: str | None = None,
        limit: int | float | str | None = None,
        retry_after: float | None = None,
        current_version: int | None = None,
        errors: list[FieldError] | None = None,
    ) -> None:
        """Create the error. `retry_after` is in seconds; `field` names the wrong input, `limit` its limit.

        `current_version` is the stored version, if the request named another version.
        """
        self.detail = detail or self.title()
        self.field = field
        self.limit = limit
        self.retry_after = retry_after
        self.current_version = current_version
        self.errors = errors
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def body(self) -> ErrorBody:
        """Return the wire form of the error."""
        return ErrorBody(
            code=self.code,
            detail=self.detail,
            field=self.field,
            limit=self.limit,
            retry_after=self.retry_after,
            current_version=self.current_version,
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
    """The resource does not exist, or you may not see it."""

    code = "not_found"
    status = 404


class MethodNotAllowed(SvgxError):
    """The path does not support this method."""

    code = "method_not_allowed"
    status = 405


class RequestTimeout(SvgxError):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408


class Conflict(SvgxError):
    """The request conflicts with the stored state."""

    code = "conflict"
    status = 409


class VersionConflict(SvgxError):
    """The stored version is not the one that the request names."""

    code = "version_conflict"
    status = 409


class TooLarge(SvgxError):
    """The request is larger than the limit."""

    code = "too_large"
    status = 413


class UnsupportedMedia(SvgxError):
    """The operation does not read this media type."""

    code = "unsupported_media_type"
    status = 415


class Invalid(SvgxError):
    """A field of the request is invalid."""

    code = "invalid"
    status = 422


class TooManyRequests(SvgxError):
    """The rate limit is exceeded."""

    code = "too_many_requests"
    status = 429


class QuotaExceeded(SvgxError):
    """The quota for this hour or day is used up."""

    code = "quota_exceeded"
    status = 429


class QuotaFull(SvgxError):
    """The quota is used up; delete something, or ask an admin for more."""

    code = "quota_full"
    status = 403


class HeadersTooLarge(SvgxError):
    """The request line and headers are larger than the limit."""

    code = "headers_too_large"
    status = 431


class Internal(SvgxError):
    """The server failed; search the logs for the trace id."""

    code = "internal"
    status = 500


class UnsupportedCoding(SvgxError):
    """The server does not implement this transfer coding."""

    code = "unsupported_coding"
    status = 501


class Unavailable(SvgxError):
    """A part of the system is not reachable at present; try again."""

    code = "unavailable"
    status = 503


class Overloaded(SvgxError):
    """Too many requests are in flight at present; try again with back-off."""

    code = "overloaded"
    status = 503


class DeadlineExceeded(SvgxError):
    """The operation did not finish within its time limit."""

    code = "deadline_exceeded"
    status = 504


TEMPORARY_ERRORS = (Unavailable, DeadlineExceeded, Overloaded)
"""Errors after which the same request may succeed."""

TemporaryError = Unavailable | DeadlineExceeded | Overloaded
"""The type of the errors in `TEMPORARY_ERRORS`."""


def _table(root: type[SvgxError]) -> dict[str, type[SvgxError]]:
    table = {root.code: root}
    for sub in root.__subclasses__():
        table.update(_table(sub))
    return table


ERRORS: dict[str, type[SvgxError]] = _table(SvgxError)
"""All errors by their codes."""


def from_body(body: ErrorBody) -> SvgxError:
    """Return the exception for an error's wire form; an unknown code becomes `Internal`."""
    kind = ERRORS.get(body.code, Internal)
    return kind(
        body.detail,
        field=body.field,
        limit=body.limit,
        retry_after=body.retry_after,
        current_version=body.current_version,
        errors=body.errors,
    )


MAX_FIELD_ERRORS = 50
"""The largest number of invalid fields in one answer. Further fields are left out.

Without a limit, an answer could be much larger than its request.
"""


def from_validation(error: ValidationError) -> Invalid:
    """Return an `Invalid` that names the wrong fields. It contains no values, because they may be secrets."""
    faults = error.errors(include_url=False, include_input=False)
    fields = [
        FieldError(field=field_name(fault), detail=reason(fault))
        for fault in faults[:MAX_FIELD_ERRORS]
    ]
    first = fields[0]
    return Invalid(f"{first.field}: {first.detail}", field=first.field, errors=fields)
