"""Large JSON requests do not stop the event loop of the gateway or of the service."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from svgx_common.contract.storage.values import PERSIST_VALUE, PersistRequest, ValueEntry
from svgx_common.messaging import responder
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.http import operations
from svgx_gateway.memory.bodies import SMALL_BYTES
from tests.integration.gateway.running_gateway import answering, gateway


async def persist(request: PersistRequest, _: Call) -> ValueEntry:
    """Answer as state does after the first write of a key."""
    return ValueEntry(
        key=request.key, state_type="general", version=1, updated_at=datetime.now(UTC)
    )


@pytest.mark.parametrize(
    ("size", "in_threads"), [(10, False), (SMALL_BYTES - 100, False), (SMALL_BYTES + 1, True)]
)
async def test_large_json_request_is_validated_in_a_thread(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch, size: int, *, in_threads: bool
) -> None:
    """Proves R-HTTP-18: gateway and service validate a request over 64 KiB outside of their event loops."""
    validated_in: dict[str, threading.Thread] = {}
    for name, module, function in (
        ("gateway", operations, "parse_request"),
        ("service", responder, "_decode_request"),
    ):
        original: Any = getattr(module, function)

        def record(*args: Any, name: str = name, original: Any = original) -> Any:
            request = original(*args)
            if isinstance(request, PersistRequest):
                validated_in[name] = threading.current_thread()
            return request

        monkeypatch.setattr(module, function, record)
    async with answering(backing, PERSIST_VALUE, persist), gateway(backing) as http:
        value = {"key": "k", "value": "x" * size}
        response = await http.post("/state/persist/", json=value)
    assert (response.status_code, response.json()["key"]) == (200, "k")
    threads = {validated_in[name] is not threading.main_thread() for name in ("gateway", "service")}
    assert threads == {in_threads}
