"""Texts with unusual characters cause no internal error, and names with invisible characters are refused."""

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
async def no_failed_log_ins(tables: Tables) -> None:
    """Delete the failed log-ins of other tests, because they delay further log-ins."""
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
async def test_unusual_text_causes_no_internal_error(
    bus: Bus, operation: Operation[Any, Any], good: dict[str, str], field: str, odd: str
) -> None:
    """Proves R-CONTRACT-6: the error is 401 or 422, also for NUL, which PostgreSQL cannot store.

    A password may have control characters, so such a password is refused only because it is wrong.
    """
    body = json.dumps(good | {field: odd}).encode()
    with pytest.raises(SvgxError) as error:
        await bus.request(operation.subject, body, timeout=10)
    assert error.value.status in (401, 422)


@pytest.mark.parametrize("odd", ["\x00", "\x01", "\x7f", "\x9f", "\n", " ", "\ud800"])
@pytest.mark.parametrize("field", ["username", "email"])
async def test_name_with_control_characters_is_refused(bus: Bus, field: str, odd: str) -> None:
    """Proves R-AUTH-8: a name with an invisible character is refused, because it could look like another name."""
    good = {"username": "ann", "email": "ann@example.org", "password": PASSWORD, "role": "viewer"}
    body = json.dumps(good | {field: good[field] + odd}).encode()
    with pytest.raises(Invalid) as error:
        await bus.request(CREATE_USER.subject, body, timeout=10)
    # The error of a lone surrogate names no field, because the whole body is then invalid JSON.
    assert odd == "\ud800" or error.value.field == field
