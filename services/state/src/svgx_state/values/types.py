"""State types: the backend, the size limit and the time to live of values. Operators configure them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from svgx_common.contract.storage.values import DEFAULT_TYPE, MAX_VALUE_BYTES, StateType


class Backend(StrEnum):
    """The stores of values."""

    POSTGRESQL = "postgresql"
    """Values are kept until they are deleted, or until their time to live ends."""
    REDIS = "redis"
    """All replicas see the values. They may be lost at any moment."""
    MEMORY = "memory"
    """Only one replica sees the values. They are lost when the replica ends, so production refuses this backend."""


class StateTypeSettings(BaseModel):
    """One state type.

    A type with another backend than PostgreSQL needs a time to live, because its values can be lost. Admins write the
    values of a shared type, and all callers read them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Backend
    ttl_seconds: float | None = Field(None, ge=1, le=366 * 86400, allow_inf_nan=False)
    """Lifetime of a value after its last write, in seconds. With None, the value is kept until it is deleted."""
    max_bytes: int = Field(64 * 1024, ge=1, le=MAX_VALUE_BYTES)
    """Largest size of a value, in bytes of compact JSON in UTF-8."""
    shared: bool = False

    @model_validator(mode="after")
    def _require_ttl_outside_postgresql(self) -> Self:
        if self.backend is not Backend.POSTGRESQL and self.ttl_seconds is None:
            raise ValueError(f"needs ttl_seconds, because values in {self.backend} can be lost")
        return self


def _check_types(
    types: Mapping[str, StateTypeSettings],
) -> Mapping[str, StateTypeSettings]:
    if DEFAULT_TYPE not in types:
        raise ValueError(f"needs the type {DEFAULT_TYPE}, which requests without a type use")
    if types[DEFAULT_TYPE].shared:
        raise ValueError(f"{DEFAULT_TYPE} cannot be shared: only admins could write it")
    if "canvas" in types:
        raise ValueError("canvas cannot be a state type: canvases are edited, and have a journal")
    return types


StateTypes = Annotated[dict[StateType, StateTypeSettings], AfterValidator(_check_types)]

DEFAULT_TYPES = {
    DEFAULT_TYPE: StateTypeSettings(backend=Backend.POSTGRESQL),
    "preference": StateTypeSettings(backend=Backend.POSTGRESQL, max_bytes=16 * 1024),
    "session": StateTypeSettings(backend=Backend.REDIS, ttl_seconds=86400),
    "cache": StateTypeSettings(backend=Backend.REDIS, ttl_seconds=3600),
    "shared": StateTypeSettings(backend=Backend.POSTGRESQL, shared=True),
}
