"""The changes of a request, read from its JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the tree, as the request states it. `order` is a fractional index, and the other fields are ids."""

    parent: str | None = None
    before: str | None = None
    after: str | None = None
    order: str | None = None

    @property
    def side(self) -> str:
        """Return the name of the field with the sibling's id."""
        return "before" if self.before is not None else "after"

    @property
    def sibling(self) -> str | None:
        """Return the id of the sibling that the element is placed beside, or None."""
        return self.before if self.before is not None else self.after


@dataclass(frozen=True, slots=True)
class Create:
    """A new element. If `id` is None, it gets a new id."""

    tag: str
    place: Place
    id: str | None = None
    attrs: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """New values of attributes, and new character data if `text` is not None. None removes an attribute."""

    id: str
    attrs: Mapping[str, str | None] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A new place of an element."""

    id: str
    place: Place


@dataclass(frozen=True, slots=True)
class Delete:
    """The removal of an element and its descendants."""

    id: str


Change = Create | Update | Move | Delete


def read_changes(operations: bytes) -> list[Change]:
    """Return the changes in a JSON list of operations, which matches the model of the contract."""
    return [_change(each) for each in json.loads(operations)]


def _change(fields: dict[str, object]) -> Change:
    place = Place(**{name: fields.pop(name) for name in Place.__slots__ if name in fields})  # type: ignore[arg-type]
    match fields.pop("op"):
        case "create":
            return Create(place=place, **fields)  # type: ignore[arg-type]
        case "update":
            return Update(**fields)  # type: ignore[arg-type]
        case "move":
            return Move(place=place, **fields)  # type: ignore[arg-type]
        case _:
            return Delete(**fields)  # type: ignore[arg-type]
