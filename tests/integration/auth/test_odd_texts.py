"""Texts that nobody types: they are refused, and are no error of ours."""

import json
from typing import Any

import pytest

from svgx_common.contract.auth import CREATE_USER, LIST_USERS, LOGIN, REFRESH
from svgx_common.contract.errors import Invalid, SvgxError
from svgx_common.contract.operation import Operation
from svgx_common.messaging.bus import Bus
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import PASSWORD


@pytest.fixture(autouse=True)
async def nothing_has_failed(tables: Tables) -> None:
    """Nobody has to wait for another test's failures."""
    await tables.execute("DELETE FROM attempt")


@pytest.mark.parametrize(
    "odd", ["\x00", "a\x00b", "\x01", "\x7f", "\x9f", "\n", "\ud800", "\ufffe"]
)
@pytest.mark.parametrize(
    ("operation", "good", "field"),
    [
        (LOGIN, {"username": "ann", "password": "x"}, "username"),
        (LOGIN, {"username": "ann", "password": "x"}, "password"),
        (REFRESH, {"refresh_token": "x"}, "refresh_token"),
        (LIST_USERS, {"cursor": "x"}, "cursor"),
    ],
)
async def test_no_text_is_an_error_of_ours(
    bus: Bus, operation: Operation[Any, Any], good: dict[str, str], field: str, odd: str
) -> None:
    """Proves R-AUTH-5: NUL, which PostgreSQL does not store, control characters, and halves of characters."""
    body = json.dumps(good | {field: odd}).encode()
    with pytest.raises(SvgxError) as refused:
        await bus.request(operation.subject, body, timeout=10)
    assert refused.value.status in (401, 422)


@pytest.mark.parametrize("odd", ["\x00", "\x01", "\x7f", "\x9f", "\n", " ", "\ud800"])
@pytest.mark.parametrize("field", ["username", "email"])
async def test_names_have_no_control_characters(bus: Bus, field: str, odd: str) -> None:
    """Proves R-AUTH-8: two names that look alike are not told apart by what cannot be seen."""
    good = {"username": "ann", "email": "ann@example.org", "password": PASSWORD, "role": "viewer"}
    body = json.dumps(good | {field: good[field] + odd}).encode()
    with pytest.raises(Invalid) as refused:
        await bus.request(CREATE_USER.subject, body, timeout=10)
    assert odd == "\ud800" or refused.value.field == field
