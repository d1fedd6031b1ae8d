"""Drain: a service that is stopped answers all requests that it has received."""

import asyncio

from svgx_common.contract.auth import LOGIN, LoginRequest
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack

LOG_INS = 16
"""The number of log-ins. Auth might refuse some if there were more, because all come from one network (R-AUTH-40)."""


async def test_stopped_auth_answers_all_received_log_ins(stack: DevStack) -> None:
    """Auth answers all log-ins, although most of them wait for a password worker at SIGTERM. Proves R-BUS-6."""
    auth = stack.process("auth")
    bus = await Bus.connect(stack.nats_url("gateway"), "gateway", "test")
    login = LoginRequest(username=stack.admin_username, password=stack.admin_password)
    try:
        while True:
            calls = [asyncio.create_task(bus.ask(LOGIN, login, timeout=60)) for _ in range(LOG_INS)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            # After a pause of this process, all answers may have arrived. Then try again.
            if sum(call.done() for call in calls) < LOG_INS:
                break
        assert await auth.stop() == 0
        replies = await asyncio.gather(*calls)
    finally:
        await auth.start()
        await auth.wait_ready()
        await bus.close()
    assert len({reply.refresh_token for reply in replies}) == LOG_INS
