"""Records: dataclasses for objects that are created for each edit."""

from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True)
def record(cls: Class) -> Class:
    """Make a class a dataclass with slots, for many objects that never change.

    Only the type checker refuses to change a field. An object of a dataclass that is frozen at run time takes
    three times as long to create: 0.9 instead of 0.3 µs for three fields.
    """
    class_with_slots: Any = dataclass(slots=True, unsafe_hash=True)(cls)
    return class_with_slots  # type: ignore[no-any-return]  # mypy has no type for the class with slots
