"""The operations on API keys."""

from svgx_auth.api_keys import ApiKeys
from svgx_auth.audit import Origin
from svgx_auth.handlers.callers import caller_with_session
from svgx_common.contract.api_keys import (
    CHECK_API_KEY,
    CREATE_API_KEY,
    END_API_KEY,
    LIST_API_KEYS,
    ApiKeyPage,
    CheckApiKeyRequest,
    CheckedApiKey,
    CreateApiKeyRequest,
    EndApiKeyRequest,
    ListApiKeysRequest,
    NewApiKey,
)
from svgx_common.contract.operation import Empty
from svgx_common.messaging.responder import Call, Responder


class ApiKeyHandlers:
    """The handlers of `CREATE_API_KEY`, `LIST_API_KEYS`, `END_API_KEY` and `CHECK_API_KEY`."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(CREATE_API_KEY, self.create_api_key)
        responder.answer(LIST_API_KEYS, self.list_api_keys)
        responder.answer(END_API_KEY, self.end_api_key)
        responder.answer(CHECK_API_KEY, self.check_api_key)

    async def create_api_key(self, request: CreateApiKeyRequest, call: Call) -> NewApiKey:
        """Create a key for the caller's account; an admin may name another account."""
        return await self._api_keys.create(request, caller_with_session(call), Origin.of(call))

    async def list_api_keys(self, request: ListApiKeysRequest, call: Call) -> ApiKeyPage:
        """List the keys of the caller's account; an admin may name another account."""
        return await self._api_keys.page(request, call.signed_in_caller())

    async def end_api_key(self, request: EndApiKeyRequest, call: Call) -> Empty:
        """End a key of the caller's account; an admin may end any key."""
        await self._api_keys.end(request.key_id, caller_with_session(call), Origin.of(call))
        return Empty()

    async def check_api_key(self, request: CheckApiKeyRequest, _: Call) -> CheckedApiKey:
        """Tell a gateway which account a key belongs to."""
        return await self._api_keys.check(request.key)
