"""A request as the message of the contract: path, query, cookie and body, within their limits."""

import asyncio
import json
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request

from svgx_common.contract.errors import (
    BadRequest,
    RequestTimeout,
    TooLarge,
    UnsupportedMedia,
    from_validation,
)
from svgx_common.contract.operation import Http, Operation, RawRequest, RequestModel

BODY_SECONDS = 120.0
"""Time a body may take to arrive."""

EXACT = 2**53
"""Below this each whole number has a float of its own."""


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"body: at most {limit} bytes", field="body", limit=limit)


def check_content_length(request: Request, limit: int) -> None:
    """What says that it is too large needs no further look. Raises `TooLarge`; `limit` is in bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)


async def read_body(request: Request, limit: int) -> bytes:
    """The body. Raises `TooLarge` as soon as what arrives is over `limit` bytes, and `RequestTimeout`."""
    if "content-length" not in request.headers and "transfer-encoding" not in request.headers:
        return b""  # there is none (RFC 9112, 6.3)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeout(
            f"body: at most {BODY_SECONDS:.0f} s", field="body", limit=BODY_SECONDS
        ) from None
    return b"".join(chunks)


def parse_request(
    operation: Operation[Any, Any], http: Http, request: Request, body: bytes
) -> RequestModel:
    """What the request says, as the operation's model. Raises `Invalid`, `BadRequest` or `UnsupportedMedia`."""
    model: type[RequestModel] = operation.request
    values: dict[str, Any] = {}
    strict = False
    if issubclass(model, RawRequest):
        _check_media_type(http, request)
        values["content"] = body
    elif http.method in ("GET", "DELETE"):
        if request.scope["query_string"]:
            values.update(request.query_params)
    elif body:
        _check_media_type(http, request)
        values.update(_json_object(body))
        strict = True
    values.update(request.path_params)
    if http.cookie is not None and http.cookie in model.model_fields:
        values.pop(http.cookie, None)
        if http.cookie_name in request.cookies:
            values[http.cookie] = request.cookies[http.cookie_name]
    try:
        if strict:
            # As JSON: there `0` is no boolean and `"7"` is no number, as the document says.
            return model.model_validate_json(json.dumps(values), strict=True)
        return model.model_validate(values)
    except ValidationError as error:
        if error.error_count() == 1 and error.errors()[0]["type"] == "json_invalid":
            raise _not_json() from None
        raise from_validation(error) from None


def _check_media_type(http: Http, request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in http.consumes:
        raise UnsupportedMedia(
            f"send the body as {' or '.join(http.consumes)}",
            field="content-type",
            limit=http.consumes[0],
        )


def _number(text: str) -> float | int:
    """JSON has one kind of number: 7.0 is 7."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def _not_json() -> BadRequest:
    return BadRequest("the body is not JSON", field="body")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_float=_number)
    except (ValueError, RecursionError):
        raise _not_json() from None
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object", field="body")
    return value
