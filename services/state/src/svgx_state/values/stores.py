"""The stores that the configured state types use. Each store is built once."""

import asyncio
from collections.abc import Mapping

import structlog

from svgx_common.contract.errors import Invalid, SvgxError
from svgx_common.contract.storage.values import VALUE_CHANGED, ValueChanged
from svgx_common.messaging.bus import Bus
from svgx_common.postgres import Database
from svgx_common.redis import Redis
from svgx_state.settings import StateSettings
from svgx_state.values import metrics
from svgx_state.values.cache import CachedStore
from svgx_state.values.memory import MemoryStore
from svgx_state.values.postgresql import PostgresStore
from svgx_state.values.redis import RedisStore
from svgx_state.values.store import AccountLimits, StateStore
from svgx_state.values.types import Backend, StateTypeSettings

log = structlog.get_logger(__name__)

EXPIRE_SECONDS = 60.0
"""Seconds between two runs that delete expired values."""


class Stores:
    """The stores by backend, and the state types that name them."""

    def __init__(
        self, bus: Bus, database: Database, redis: Redis | None, settings: StateSettings
    ) -> None:
        self._bus = bus
        self._types = settings.state_types
        limits = AccountLimits(settings.values_per_account, settings.value_bytes_per_account)
        self._cached = CachedStore(
            PostgresStore(database, limits), self._announce, settings.value_cache_bytes
        )
        stores: dict[Backend, StateStore] = {
            Backend.POSTGRESQL: self._cached,
            Backend.MEMORY: MemoryStore(limits),
        }
        if redis is not None:
            stores[Backend.REDIS] = RedisStore(redis, limits)
        self.all = tuple(stores.values())
        """All stores, also those of backends that no state type uses any more. Such a store may still have values."""
        used = {each.backend for each in self._types.values()}
        self.by_backend: Mapping[Backend, StateStore] = {
            backend: store for backend, store in stores.items() if backend in used
        }
        """The stores in use, in the order in which they are searched."""

    async def start(self) -> None:
        """Listen to changes by other replicas."""
        await self._bus.listen(VALUE_CHANGED.subject, self._changed, lost=self._cached.clear)
        self._bus.on_reconnect(self._reconnected)

    def type_of(self, name: str, field: str = "state_type") -> StateTypeSettings:
        """Return the settings of a state type. Raise `Invalid` for an unknown one."""
        state_type = self._types.get(name)
        if state_type is None:
            known = ", ".join(sorted(self._types))
            hint = (
                "; canvases are edited, and cannot be stored as values" if name == "canvas" else ""
            )
            raise Invalid(
                f"{field}: there is no type {name}; the types are {known}{hint}", field=field
            )
        return state_type

    def backends(self, *, shared: bool) -> list[Backend]:
        """Return the backends of the shared types, or of all other types, in the order in which they are searched."""
        used = {each.backend for each in self._types.values() if each.shared is shared}
        return [backend for backend in self.by_backend if backend in used]

    async def expire_later(self) -> None:
        """Wait `EXPIRE_SECONDS`, then delete expired values. This is a step to repeat in the background."""
        await asyncio.sleep(EXPIRE_SECONDS)
        await self.expire()

    async def expire(self) -> None:
        """Delete expired values from all stores."""
        for store in self.all:
            metrics.VALUES_EXPIRED.inc(await store.expire())

    async def _announce(self, owner: str, key: str) -> None:
        """Announce a change to the other replicas.

        A failure is only logged: while NATS is not reachable, the other replicas get no requests either. They empty
        their caches when NATS is reachable again.
        """
        try:
            await self._bus.broadcast(VALUE_CHANGED, ValueChanged(owner=owner, key=key))
        except SvgxError as error:
            log.warning("a changed value was not announced", error=error.code)

    async def _changed(self, _: str, content: bytes) -> None:
        changed = ValueChanged.model_validate_json(content)
        self._cached.forget(changed.owner, changed.key)

    async def _reconnected(self) -> None:
        self._cached.clear()
