"""Limits the pace at which JSON clients lock and release objects, for each account. No I/O."""

from svgx_gateway.websocket.json_clients.account_turns import AccountTurns

RATE = 20.0
"""Messages about locks that an account may send in the long run, in messages a second.

A client that renews the locks of 100 objects every 10 s needs half of it.
"""

BURST = 200.0
"""Messages about locks that an account may send after a pause without waiting.

This is enough to release 100 selected objects, and to lock 100 other ones.
"""


class LockPace:
    """The pace of the accounts on a gateway. Each message about locks runs a script in Redis, and is broadcast."""

    def __init__(self) -> None:
        self._turns = AccountTurns(RATE, BURST)

    async def wait(self, account: str) -> None:
        """Wait until the account may lock or release one object, and count this message."""
        async with self._turns.turn(account, tokens=1.0) as bucket:
            bucket.take(1.0)
