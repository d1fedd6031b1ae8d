"""The handlers of the operations on values.

A value of a type that is not shared belongs to one account. Only this account and admins can read or change the value.
An admin's request for a value of another account names that account.

Values of a shared type belong to no account: admins write them, and all callers read them.
"""

import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    SvgxError,
    TooLarge,
    Unavailable,
    VersionConflict,
)
from svgx_common.contract.operation import Blob, Empty
from svgx_common.contract.policy import Role
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.storage import values
from svgx_common.messaging.responder import Call, Responder
from svgx_common.pages import Cursor, Listing
from svgx_state.values import metrics
from svgx_state.values.canvases import CanvasValues
from svgx_state.values.store import SHARED, Draft, StateStore, StoredKey, StoredValue, wrong_type
from svgx_state.values.stores import Stores
from svgx_state.values.types import Backend

Result = TypeVar("Result")

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time in the cursors of the list of keys, which is ordered by key alone."""

_REFUSALS = (VersionConflict, Conflict, TooLarge)


class Values:
    """The values of all accounts, one method for each operation."""

    def __init__(self, stores: Stores, canvases: CanvasValues) -> None:
        self._stores = stores
        self._canvases = canvases

    def register(self, responder: Responder) -> None:
        """Answer all operations on values."""
        responder.answer(values.PERSIST_VALUE, self.persist)
        responder.answer(values.RETRIEVE_VALUE, self.retrieve)
        responder.answer(values.RETRIEVE_CANVAS, self.retrieve_canvas)
        responder.answer(values.DELETE_VALUE, self.delete)
        responder.answer(values.LIST_VALUES, self.list)

    async def persist(self, request: values.PersistRequest, call: Call) -> values.ValueEntry:
        """Store a value. Raise `VersionConflict`, `Conflict`, `TooLarge`, `Forbidden`, `Invalid` or `Unavailable`."""
        state_type = self._stores.type_of(request.state_type)
        owner = self._owner_to_change(call, request.user_id, shared=state_type.shared)
        draft = Draft(
            key=request.key,
            state_type=request.state_type,
            value=values.compact_json(request.value),
            metadata=values.compact_json(request.metadata),
            seconds=state_type.ttl_seconds,
        )
        if len(draft.value.encode()) > state_type.max_bytes:
            raise TooLarge(
                f"value: has more than {state_type.max_bytes} bytes as JSON, "
                f"which is the limit of the type {request.state_type}",
                field="value",
                limit=state_type.max_bytes,
            )
        await self._check_other_stores(owner, request.key, state_type.backend)
        store = self._stores.by_backend[state_type.backend]
        stored = await _with_counted_outcome(
            state_type.backend, "persist", store.put(owner, draft, request.version)
        )
        return values.ValueEntry(**_entry(stored))

    async def retrieve(self, request: values.ValueRequest, call: Call) -> values.Value:
        """Return a value. Raise `NotFound`, `Forbidden`, `Invalid`, or `Unavailable` when a store does not answer."""
        if request.state_type is not None:
            state_type = self._stores.type_of(request.state_type)
            owner = self._owner_to_read(call, request.user_id, shared=state_type.shared)
            stored = await self._get(state_type.backend, owner, request.key)
            if stored is not None and stored.state_type != request.state_type:
                stored = None
        else:
            owner = self._owner_to_read(call, request.user_id, shared=False)
            stored = await self._search(owner, request.key)
            if stored is None and request.user_id is None:
                stored = await self._search(SHARED, request.key)
        if stored is None:
            raise _no_such_value()
        return values.Value(
            **_entry(stored), value=json.loads(stored.value), metadata=json.loads(stored.metadata)
        )

    async def retrieve_canvas(self, request: CanvasRequest, call: Call) -> Blob:
        """Return a canvas as a value. The gateway has checked the caller's role on the canvas."""
        return await self._canvases.retrieve(request, call)

    async def delete(self, request: values.DeleteValueRequest, call: Call) -> Empty:
        """Delete a value. Raise `NotFound`, `VersionConflict`, `Forbidden`, `Invalid` or `Unavailable`."""
        if request.state_type is not None:
            state_type = self._stores.type_of(request.state_type)
            backends = [state_type.backend]
            owner = self._owner_to_change(call, request.user_id, shared=state_type.shared)
            if (stored := await self._get(state_type.backend, owner, request.key)) is None or (
                stored.state_type != request.state_type
            ):
                raise _no_such_value()
        else:
            backends = self._stores.backends(shared=False)
            owner = self._owner_to_change(call, request.user_id, shared=False)
        failure: Unavailable | None = None
        for backend in backends:
            store = self._stores.by_backend[backend]
            try:
                deleting = store.delete(owner, request.key, request.version)
                if await _with_counted_outcome(backend, "delete", deleting):
                    return Empty()
            except Unavailable as error:
                failure = error
        raise failure or _no_such_value()

    async def list(self, request: values.ListValuesRequest, call: Call) -> values.ValuePage:
        """Return a page of keys. Raise `Forbidden`, `Invalid` or `Unavailable`."""
        state_type = self._stores.type_of(request.state_type)
        owner = self._owner_to_read(call, request.user_id, shared=state_type.shared)
        store = self._stores.by_backend[state_type.backend]
        listing = Listing.of(values.LIST_VALUES, request, owner)
        after = listing.decode(request.cursor)
        keys = await _with_counted_outcome(
            state_type.backend,
            "list",
            store.keys(
                owner,
                request.state_type,
                request.prefix,
                after.id if after else "",
                request.limit + 1,
            ),
        )
        page, following = listing.page_of(
            keys, request.limit, lambda each: Cursor(_NO_TIME, each.key)
        )
        return values.ValuePage(
            items=[values.ValueEntry(**_entry(each)) for each in page], next=following
        )

    async def erase(self, user_id: str) -> int:
        """Delete all values of an account, and return their number."""
        return sum([await store.erase(user_id) for store in self._stores.all])

    async def _get(self, backend: Backend, owner: str, key: str) -> StoredValue | None:
        store: StateStore = self._stores.by_backend[backend]
        return await _with_counted_outcome(backend, "retrieve", store.get(owner, key))

    async def _search(self, owner: str, key: str) -> StoredValue | None:
        """Return the value of a key from any store. Raise `Unavailable` if no store has the value and a store fails."""
        failure: Unavailable | None = None
        for backend in self._stores.backends(shared=owner == SHARED):
            try:
                if (stored := await self._get(backend, owner, key)) is not None:
                    return stored
            except Unavailable as error:
                failure = error
        if failure is not None:
            raise failure
        return None

    async def _check_other_stores(self, owner: str, key: str, own: Backend) -> None:
        """Raise `Conflict` when another store has the key.

        A store that does not answer is skipped, so that a failure of one store does not prevent writes to the others.
        """
        for backend in self._stores.backends(shared=owner == SHARED):
            if backend is own:
                continue
            try:
                other = await self._get(backend, owner, key)
            except Unavailable:
                continue
            if other is not None:
                raise wrong_type(other.state_type)

    def _owner_to_read(self, call: Call, user_id: str | None, *, shared: bool) -> str:
        """Return the owner of the requested value. Raise `Forbidden`.

        Raise `Invalid` if the request names both a shared value and a user id.
        """
        caller = call.signed_in_caller()
        if user_id is not None and user_id != caller.user_id and caller.role is not Role.ADMIN:
            raise Forbidden("only admins may name another account", field="user_id")
        if shared:
            if user_id is not None:
                raise Invalid("user_id: shared values belong to no account", field="user_id")
            return SHARED
        return user_id or caller.user_id

    def _owner_to_change(self, call: Call, user_id: str | None, *, shared: bool) -> str:
        """Return the owner of the value to change. Raise the errors of `_owner_to_read`.

        Raise `Forbidden` also when a caller that is not an admin would change a shared value.
        """
        owner = self._owner_to_read(call, user_id, shared=shared)
        if shared and call.signed_in_caller().role is not Role.ADMIN:
            raise Forbidden("only admins may change shared values", field="state_type")
        return owner


async def _with_counted_outcome(backend: Backend, action: str, work: Awaitable[Result]) -> Result:
    """Await the work of a store, and count its outcome."""
    outcome = "failed"
    try:
        result = await work
        outcome = "ok"
        return result
    except SvgxError as error:
        if isinstance(error, _REFUSALS):
            outcome = "refused"
        raise
    finally:
        metrics.VALUE_ACTIONS.labels(backend, action, outcome).inc()


def _entry(stored: StoredKey) -> dict[str, Any]:
    return {
        "key": stored.key,
        "state_type": stored.state_type,
        "version": stored.version,
        "updated_at": stored.updated_at,
        "expires_at": stored.expires_at,
    }


def _no_such_value() -> NotFound:
    return NotFound("you have no value with this key, or its time to live has ended", field="key")
