"""The request message of an operation, built from path, query, cookie and body of an HTTP request."""

import codecs
import json
from collections.abc import Collection, Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import Request

from svgx_common.contract.errors import (
    MAX_FIELD_ERRORS,
    BadRequest,
    FieldError,
    Invalid,
    TooLarge,
    UnsupportedMedia,
    from_validation,
)
from svgx_common.contract.fields.invalid_fields import MAX_FIELD_NAME_CHARACTERS
from svgx_common.contract.operation import Http, Operation, RequestModel, is_raw
from svgx_gateway import header_values
from svgx_gateway.memory.bodies import too_large
from svgx_gateway.request_fields import fields_of, text_of

EXACT_FLOAT_LIMIT = 2**53
"""Each whole number below this limit has an exact floating-point form."""

MAX_JSON_VALUES = 50_000
"""Largest number of values in a JSON body. Each comma, `[` and `{` outside strings counts as one value.

Beyond it, the body is refused. Python needs about a microsecond for each value. Without this limit, the largest body
would take half a second.
"""

_WHITESPACE = b" \t\r\n"
"""The characters that JSON allows around a value (RFC 8259, 2)."""


def check_content_length(request: Request, limit: int) -> None:
    """Raise `TooLarge` if the announced body has more than `limit` bytes."""
    announced = text_of(request.scope, b"content-length")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large(limit)


def has_body(request: Request) -> bool:
    """Return whether a request has a body (RFC 9112, 6.3)."""
    fields = fields_of(request.scope)
    return b"content-length" in fields or b"transfer-encoding" in fields


def parse_request(
    operation: Operation[Any, Any], http: Http, request: Request, body: bytes
) -> RequestModel:
    """Return the request as the operation's model. Raise `Invalid`, `BadRequest`, `TooLarge` or `UnsupportedMedia`.

    GET and DELETE have no fields in the body, and the other methods have none in the query. Such fields are refused,
    not ignored, because, for example, a DELETE with an ignored `version` would delete any version of a value. A field
    of the path is refused in the query and the body, because the two values could differ. In the query, a model that
    ignores unknown parameters also ignores a field of the path.
    """
    model: type[RequestModel] = operation.request
    added_fields: dict[str, Any] = dict(request.path_params)
    if http.cookie is not None and http.cookie in model.model_fields:
        added_fields[http.cookie] = header_values.cookie(request.headers, http.cookie_name)
    query = request.query_params if request.scope["query_string"] else {}
    has_query_fields = http.method in ("GET", "DELETE")
    if has_query_fields and body:
        detail = f"{http.method} has its fields in the path and in the query, not in the body"
        raise Invalid(f"body: {detail}", field="body")
    if query and not has_query_fields:
        raise _refusal(
            query, f"{http.method} has its fields in the body and in the path, not in the query"
        )
    try:
        if is_raw(model):
            _check_media_type(http, request)
            if "charset" in model.model_fields:
                content_type = request.headers.get("content-type", "")
                added_fields["charset"] = header_values.charset(content_type)
            return model.model_validate({"content": body, **added_fields})
        if has_query_fields:
            repeated = [name for name in added_fields if name in query]
            if repeated and model.model_config.get("extra") != "ignore":
                raise _path_field_refusal(repeated)
            return model.model_validate({**query, **added_fields})
        if not body:
            return model.model_validate(added_fields)
        _check_media_type(http, request)
        check_json_values(body)
        text = _object_text(body)
        if added_fields and (repeated := _members_in(text, added_fields)):
            raise _path_field_refusal(repeated)
        return _validate_json(model, _with_fields(text, added_fields))
    except ValidationError as error:
        if error.error_count() == 1 and error.errors()[0]["type"] == "json_invalid":
            raise BadRequest("the body is not JSON", field="body") from None
        raise from_validation(error) from None


def _path_field_refusal(names: Iterable[str]) -> Invalid:
    return _refusal(names, "has its place in the path, and in no other part of the request")


def _refusal(fields: Iterable[str], detail: str) -> Invalid:
    """Return the error for fields in the wrong part of a request."""
    names = [name[:MAX_FIELD_NAME_CHARACTERS] or "query" for name in fields]
    errors = [FieldError(field=name, detail=detail) for name in names[:MAX_FIELD_ERRORS]]
    return Invalid(f"{names[0]}: {detail}", field=names[0], errors=errors)


def _check_media_type(http: Http, request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in http.consumes:
        raise UnsupportedMedia(
            f"send the body as {' or '.join(http.consumes)}",
            field="content-type",
            limit=http.consumes[0],
        )
    coding = ", ".join(request.headers.getlist("content-encoding")).lower()
    if not {each.strip() for each in coding.split(",")} <= {"", "identity"}:
        raise UnsupportedMedia(
            f"the body is compressed ({coding[:40]}); send it uncompressed",
            field="content-encoding",
            limit="identity",
        )


def check_json_values(body: bytes) -> None:
    """Raise `TooLarge` if a JSON text has more than `MAX_JSON_VALUES` values.

    The check is fast, because it does not parse the text. An empty list or object counts as two.
    """
    if len(body) <= MAX_JSON_VALUES or _count_values(body) <= MAX_JSON_VALUES:
        return
    # Count again without the strings, which may have commas and brackets too.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if _count_values(b"".join(unescaped.split(b'"')[::2])) > MAX_JSON_VALUES:
        raise TooLarge(
            f"body: must have at most {MAX_JSON_VALUES} values",
            field="body",
            limit=MAX_JSON_VALUES,
        )


def _count_values(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _object_text(body: bytes) -> bytes:
    """Return a JSON text without whitespace around it. Raise `BadRequest` if it is not an object.

    The text is not parsed here, because the validation parses it.
    """
    # A parser may ignore a byte order mark (RFC 8259, 8.1), and some clients send one.
    text = body.removeprefix(codecs.BOM_UTF8).strip(_WHITESPACE)
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise BadRequest("the body is not a JSON object", field="body")
    return text


def _members_in(text: bytes, names: Collection[str]) -> list[str]:
    """Return the names that a JSON object has as members.

    The text is parsed only if it contains one of the names, or an escape such as `\\u005f`, which may be a part of a
    name.
    """
    if b"\\u" not in text and not any(name.encode() in text for name in names):
        return []
    try:
        members = from_json(text)
    except ValueError:
        return []  # the validation refuses the text
    return [name for name in names if name in members]


def _with_fields(text: bytes, fields: dict[str, Any]) -> bytes:
    """Return the JSON text of an object with `fields` added. Adding fields never makes invalid JSON valid.

    The fields are added at the end, because the parser uses the last of several members with the same name.
    """
    if not fields:
        return text
    members = text[1:-1].strip(_WHITESPACE)
    return to_json(fields) if not members else b"{" + members + b"," + to_json(fields)[1:]


def _validate_json(model: type[RequestModel], text: bytes) -> RequestModel:
    """Parse and validate a JSON text. In strict mode `0` is no boolean and `"7"` is no number."""
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        # JSON has one kind of number, so 7.0 is the integer 7. Strict mode refuses 7.0 because it is a float.
        if not any(
            item["type"] == "int_type" and _is_whole(item["input"])
            for item in error.errors(include_url=False)
        ):
            raise
    whole_numbers = json.loads(text, parse_float=_number)
    return model.model_validate_json(json.dumps(whole_numbers), strict=True)


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if _is_whole(value) else value


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOAT_LIMIT
