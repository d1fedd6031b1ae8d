"""The turns of accounts."""

import asyncio

import pytest

from svgx_gateway.websocket.json_clients.account_turns import MAX_REMEMBERED, AccountTurns


async def test_account_that_has_to_wait_is_remembered_among_many_accounts() -> None:
    """R-JSON-4, R-JSON-8: only accounts with a full bucket are forgotten, so that an account that owes tokens waits."""
    turns = AccountTurns(rate=0.001, burst=1.0)
    async with turns.turn("flood") as bucket:
        bucket.take(2.0)
    for number in range(MAX_REMEMBERED + 1):
        async with asyncio.timeout(0), turns.turn(f"other-{number}", tokens=1.0):
            pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), turns.turn("flood"):
            pass
