"""All services read one configuration file."""

import asyncio

import httpx

from svgx_devstack import DevStack
from tests.e2e.clients.api import open_api
from tests.polling import REQUEST_POLL_SECONDS, pause


async def test_one_configuration_file_configures_all_services(configured_stack: DevStack) -> None:
    """All services use the common settings of the file, and the gateway its own. Proves R-CONFIG-1."""
    stack = configured_stack
    async with open_api(stack.url) as api:
        admin = api.session(stack.admin_username, stack.admin_password)
        response = await admin.request("GET", "/auth/me", headers={"X-Forwarded-Proto": "https"})
        assert response.headers["x-ratelimit-limit"] == "7777"
        assert response.headers["strict-transport-security"] == "max-age=60"
        async with httpx.AsyncClient(timeout=60) as http:
            for service in ("gateway", "auth", "state", "collab"):
                url = stack.service_url(service)
                assert (await http.get(f"{url}/metrics/prometheus")).status_code == 404
                await stack.process(service).wait_ready()
        # The state service checks its dependencies by itself, and logs each change of its health.
        postgres = stack.process("postgres")
        postgres.restart = False
        postgres.kill()
        await wait_for_health_in_log(stack, "state", "failing")
        postgres.restart = True
        await postgres.start()
        await wait_for_health_in_log(stack, "state", "ok")


async def wait_for_health_in_log(stack: DevStack, service: str, status: str) -> None:
    """Wait until a service has logged a change of its health to this status."""
    path = stack.log_path(service)
    async with asyncio.timeout(20):
        while not any(
            "health changed" in line and f'"{status}"' in line
            for line in (await asyncio.to_thread(path.read_text)).splitlines()
        ):
            await pause(REQUEST_POLL_SECONDS)
