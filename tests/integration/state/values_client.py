"""Calls of the operations on values."""

from typing import Any

from svgx_common.contract.storage import values
from svgx_common.messaging.caller import Caller
from tests.integration.state.service import Client


async def persist(client: Client, caller: Caller, key: str, value: Any, **more: Any) -> int:
    request = values.PersistRequest.model_validate({"key": key, "value": value, **more})
    return (await client.bus.ask(values.PERSIST_VALUE, request, caller=caller)).version


async def retrieve(client: Client, caller: Caller, key: str, **more: Any) -> values.Value:
    request = values.ValueRequest.model_validate({"key": key, **more})
    return await client.bus.ask(values.RETRIEVE_VALUE, request, caller=caller)


async def delete(client: Client, caller: Caller, key: str, **more: Any) -> None:
    request = values.DeleteValueRequest.model_validate({"key": key, **more})
    await client.bus.ask(values.DELETE_VALUE, request, caller=caller)


async def page(client: Client, caller: Caller, **query: Any) -> values.ValuePage:
    request = values.ListValuesRequest.model_validate(query)
    return await client.bus.ask(values.LIST_VALUES, request, caller=caller)
