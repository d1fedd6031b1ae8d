"""Sessions that end, and refreshes that are refused."""

import pytest

from svgx_common.bus import Bus
from svgx_common.contract.auth import REFRESH, RefreshRequest
from svgx_common.contract.errors import Unauthenticated
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import create, login


@pytest.mark.parametrize("change", ["expires_at = now()", "ended_at = now()"])
async def test_an_ended_session_is_not_refreshed(bus: Bus, tables: Tables, change: str) -> None:
    """Proves R-AUTH-6: a token is good only while its session lives."""
    signed_in = await login(bus, (await create(bus)).username)
    await tables.execute(f"UPDATE session SET {change} WHERE account_id = $1", signed_in.user.id)
    with pytest.raises(Unauthenticated):
        await bus.ask(REFRESH, RefreshRequest(refresh_token=signed_in.refresh_token))


async def test_a_refused_refresh_spends_nothing(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-6: who is enabled again goes on with the token it has."""
    signed_in = await login(bus, (await create(bus)).username)
    request = RefreshRequest(refresh_token=signed_in.refresh_token)
    set_disabled = "UPDATE account SET disabled_at = {} WHERE id = $1"
    await tables.execute(set_disabled.format("now()"), signed_in.user.id)
    with pytest.raises(Unauthenticated):
        await bus.ask(REFRESH, request)
    await tables.execute(set_disabled.format("NULL"), signed_in.user.id)
    await bus.ask(REFRESH, request)
