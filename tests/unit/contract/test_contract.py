"""The declarations everything else is read from."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mypy import api as mypy
from pydantic import ValidationError

from svgx_common.contract import OPERATIONS, subjects
from svgx_common.contract.auth import LoginRequest
from svgx_common.contract.errors import ERRORS, SvgxError, from_body, from_validation
from svgx_common.contract.operation import Empty, RawRequest
from svgx_common.contract.policy import CanvasRole, RateClass, Role, Scope


def repeated(values: list[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]


def test_no_two_operations_share_a_subject_or_a_path() -> None:
    """Proves R-CONTRACT-1; a path is the same whatever its fields are called."""
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
def test_an_operation_is_whole(operation: object) -> None:
    """Proves R-CONTRACT-2: what is declared fits together."""
    (op,) = (each for each in OPERATIONS if each is operation)
    fields = set(op.request.model_fields)
    assert op.service in subjects.SERVICES
    assert (op.http is None) == (op.scope is Scope.INTERNAL)
    assert (op.rate is RateClass.INTERNAL) == (op.scope is Scope.INTERNAL)
    assert op.canvas_role is None or "canvas_id" in fields
    assert op.summary
    if op.http is not None:
        assert set(op.http.path_fields) <= fields
        assert (op.reply is Empty) == (op.http.status == 204)
        if issubclass(op.request, RawRequest):
            assert set(op.http.path_fields) == fields - {"content"}


def integers(schema: Any) -> Iterator[dict[str, Any]]:
    """Every whole number that a schema speaks of."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield schema
        for part in schema.values():
            yield from integers(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from integers(part)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whole_numbers_have_bounds(operation: object) -> None:
    """Proves R-CONTRACT-2: JSON's have none, PostgreSQL's have."""
    (op,) = (each for each in OPERATIONS if each is operation)
    for schema in integers(op.request.model_json_schema()):
        assert "minimum" in schema, schema
        assert schema["maximum"] < 2**63, schema


def test_every_service_answers_something() -> None:
    """Proves R-CONTRACT-2."""
    assert {op.service for op in OPERATIONS} == set(subjects.SERVICES)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_permissions_cover_every_subject(operation: object) -> None:
    """Proves R-BUS-11: a service may subscribe to what it answers, the gateway may ask what has a route."""
    (op,) = (each for each in OPERATIONS if each is operation)
    assert covered(op.subject, subjects.permissions(op.service).subscribe)
    if op.http is not None:
        assert covered(op.subject, subjects.permissions("gateway").publish)


def covered(subject: str, patterns: tuple[str, ...]) -> bool:
    """Whether a NATS pattern of these matches the subject."""
    return any(matches(subject.split("."), pattern.split(".")) for pattern in patterns)


def matches(subject: list[str], pattern: list[str]) -> bool:
    if pattern[-1] == ">":
        return len(subject) >= len(pattern) and matches(subject[: len(pattern) - 1], pattern[:-1])
    return len(subject) == len(pattern) and all(
        there in ("*", here) for here, there in zip(subject, pattern, strict=True)
    )


def test_errors_have_codes_of_their_own_and_come_back_as_they_went() -> None:
    """Proves R-BUS-4."""

    def below(kind: type[SvgxError]) -> list[type[SvgxError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]

    in_table = [kind for kind in below(SvgxError) if kind.__module__ == SvgxError.__module__]
    assert repeated([kind.code for kind in in_table]) == []
    assert set(ERRORS.values()) == set(in_table)
    for kind in in_table:
        error = kind("detail", field="f", limit=3, retry_after=0.5)
        back = from_body(error.body())
        assert type(back) is kind
        assert back.body() == error.body()
        assert 400 <= kind.status < 600


def test_what_is_wrong_is_named_within_bounds_and_without_its_value() -> None:
    """Proves R-BUS-4: an answer does not grow with what somebody sends."""
    secret = "hunter2"
    with pytest.raises(ValidationError) as few:
        LoginRequest.model_validate({"username": [secret], "pasword": secret})
    body = from_validation(few.value).body()
    assert {each.field for each in body.errors or []} == {"username", "password", "pasword"}
    assert secret not in body.model_dump_json()
    with pytest.raises(ValidationError) as many:
        LoginRequest.model_validate({f"{'x' * 1000}{number}": 1 for number in range(1000)})
    assert len(from_validation(many.value).body().model_dump_json()) < 50_000


def test_a_handler_of_the_wrong_type_fails_mypy(tmp_path: Path) -> None:
    """Proves R-CONTRACT-3."""
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


def test_roles_include_those_below() -> None:
    """Proves R-ACCESS-7 and R-ACCESS-8."""
    assert [CanvasRole.EDITOR.allows(role) for role in CanvasRole] == [False, True, True]
    assert [Scope.CREATE.admits(role) for role in Role] == [True, True, False]
    assert [Scope.ADMIN.admits(role) for role in Role] == [True, False, False]
    assert not any(Scope.INTERNAL.admits(role) for role in Role)
