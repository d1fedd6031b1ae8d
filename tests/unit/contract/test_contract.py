"""The declarations of the contract, which determine routes, permissions and the types of handlers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mypy import api as mypy
from pydantic import ValidationError

from svgx_common.contract import CHANNELS, OPERATIONS
from svgx_common.contract.auth import LoginRequest
from svgx_common.contract.errors import ERRORS, SvgxError, from_body, from_validation
from svgx_common.contract.operation import SERVICES, Blob, Empty, RawRequest
from svgx_common.contract.permissions import permissions
from svgx_common.contract.policy import CanvasRole, RateClass, Role, Scope


def repeated(values: list[object]) -> list[object]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def test_operations_have_unique_subjects_and_paths() -> None:
    """Proves R-CONTRACT-1. Two paths that differ in field names only are the same path."""
    assert repeated([operation.subject for operation in OPERATIONS]) == []
    paths: list[object] = []
    for operation in OPERATIONS:
        if operation.http is not None:
            path = operation.http.path.rstrip("/")
            for field in operation.http.path_fields:
                path = path.replace(f"{{{field}}}", "{}")
            paths.append((operation.http.method, path))
    assert repeated(paths) == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operation_declaration_is_consistent(operation: object) -> None:
    """Proves R-CONTRACT-2: the parts of a declaration fit together."""
    # The parameter has the type `object`. Find the operation in `OPERATIONS`, because mypy then knows its type. The
    # other tests do the same.
    (op,) = (each for each in OPERATIONS if each is operation)
    fields = set(op.request.model_fields)
    assert op.service in SERVICES
    assert (op.http is None) == (op.scope is Scope.INTERNAL)
    assert (op.rate is RateClass.INTERNAL) == (op.scope is Scope.INTERNAL)
    assert op.canvas_role is None or "canvas_id" in fields
    assert op.summary
    sends_json_file = (
        op.http is not None and op.reply is Blob and "application/json" in op.http.produces
    )
    assert (op.json_reply is not None) == sends_json_file
    if op.http is not None:
        assert set(op.http.path_fields) <= fields
        assert (op.reply is Empty) == (op.http.status == 204)
        if issubclass(op.request, RawRequest):
            assert set(op.http.path_fields) == fields - {"content", "charset"}


def integers(schema: Any) -> Iterator[dict[str, Any]]:
    """Return every integer schema within a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield schema
        for part in schema.values():
            yield from integers(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from integers(part)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_request_integers_have_bounds(operation: object) -> None:
    """Proves R-CONTRACT-6: each integer is bounded, because JSON integers can be too large for PostgreSQL."""
    (op,) = (each for each in OPERATIONS if each is operation)
    for schema in integers(op.request.model_json_schema()):
        assert "minimum" in schema, schema
        assert schema["maximum"] < 2**63, schema


def test_every_service_answers_an_operation() -> None:
    """Proves R-CONTRACT-2: no service is declared without an operation."""
    assert {op.service for op in OPERATIONS} == set(SERVICES)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operation_permissions_follow_from_its_callers(operation: object) -> None:
    """Proves R-BUS-11: only the declared callers may send a request, and only the declared service receives it."""
    (op,) = (each for each in OPERATIONS if each is operation)
    assert op.callers
    assert op.http is None or op.callers == ("gateway",)
    for service in SERVICES:
        allowed = permissions(service)
        assert (op.subject in allowed.publish) == (service in op.callers)
        assert (op.subject in allowed.subscribe) == (service == op.service)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_channel_permissions_follow_from_its_declaration(channel: object) -> None:
    """Proves R-BUS-11: only the declared publishers and subscribers may use a channel."""
    (declared,) = (known for known in CHANNELS if known is channel)
    assert declared.publishers
    # Programs of the operator listen to domain events, and no service does.
    assert bool(declared.subscribers) != declared.name.startswith("events.")
    assert declared.subject_of(**dict.fromkeys(declared.parameters, "*")) == declared.pattern
    for service in SERVICES:
        allowed = permissions(service)
        assert (declared.pattern in allowed.publish) == (service in declared.publishers)
        received = declared.pattern_of(service=service)
        assert (received in allowed.subscribe) == (service in declared.subscribers)


@pytest.mark.parametrize("service", SERVICES)
def test_permissions_have_no_open_wildcard(service: object) -> None:
    """Proves R-BUS-11: a service has no subject with `>`, except its own inbox."""
    (name,) = (each for each in SERVICES if each == service)
    allowed = permissions(name)
    patterns = [each for each in (*allowed.publish, *allowed.subscribe) if each.endswith(">")]
    assert patterns == [f"_INBOX.{name}.>"]
    assert f"_INBOX.{name}.>" not in allowed.publish


def test_errors_have_unique_codes_and_are_decoded_to_equal_errors() -> None:
    """Proves R-BUS-4: decoding an encoded error gives the same error."""

    def with_subclasses(kind: type[SvgxError]) -> list[type[SvgxError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in with_subclasses(sub))]

    in_table = [
        kind for kind in with_subclasses(SvgxError) if kind.__module__ == SvgxError.__module__
    ]
    assert repeated([kind.code for kind in in_table]) == []
    assert set(ERRORS.values()) == set(in_table)
    for kind in in_table:
        error = kind("detail", field="f", limit=3, retry_after=0.5)
        back = from_body(error.body())
        assert type(back) is kind
        assert back.body() == error.body()
        assert 400 <= kind.status < 600


def test_validation_errors_name_fields_without_values_and_within_bounds() -> None:
    """Proves R-BUS-4: the size of an answer does not grow with the size of the request."""
    secret = "hunter2"
    with pytest.raises(ValidationError) as few:
        # The field "pasword" does not exist.
        LoginRequest.model_validate({"username": [secret], "pasword": secret})
    body = from_validation(few.value).body()
    assert {each.field for each in body.errors or []} == {"username", "password", "pasword"}
    assert secret not in body.model_dump_json()
    with pytest.raises(ValidationError) as many:
        LoginRequest.model_validate({f"{'x' * 1000}{number}": 1 for number in range(1000)})
    assert len(from_validation(many.value).body().model_dump_json()) < 50_000


def test_handler_of_the_wrong_type_fails_mypy(tmp_path: Path) -> None:
    """Proves R-CONTRACT-3: mypy rejects a handler with another request or reply type."""
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "from svgx_common.contract.auth import LOGIN, LoginRequest, MeRequest, Tokens, User\n"
        "from svgx_common.messaging.responder import Call, Responder\n"
        "async def right(request: LoginRequest, call: Call) -> Tokens: raise NotImplementedError\n"
        "async def wrong_request(request: MeRequest, call: Call) -> Tokens: raise NotImplementedError\n"
        "async def wrong_reply(request: LoginRequest, call: Call) -> User: raise NotImplementedError\n"
        "def register(responder: Responder) -> None:\n"
        "    responder.answer(LOGIN, right)\n"
        "    responder.answer(LOGIN, wrong_request)\n"
        "    responder.answer(LOGIN, wrong_reply)\n"
    )
    report, _, status = mypy.run(["--strict", "--config-file", "pyproject.toml", str(snippet)])
    assert status == 1
    lines = [line for line in report.splitlines() if "snippet.py" in line and "error" in line]
    assert [line.split(":")[1] for line in lines] == ["8", "9"], report


def test_roles_include_the_roles_below() -> None:
    """Proves R-ACCESS-7 and R-ACCESS-8: the order of canvas roles, and the scopes of each role."""
    assert [CanvasRole.EDITOR.allows(role) for role in CanvasRole] == [False, True, True]
    assert [Scope.CREATE.admits(role) for role in Role] == [True, True, False]
    assert [Scope.ADMIN.admits(role) for role in Role] == [True, False, False]
    assert not any(Scope.INTERNAL.admits(role) for role in Role)
