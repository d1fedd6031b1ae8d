"""Who makes a call, as the gateway found out and every service believes it."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from svgx_common.contract.policy import Role


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user. Only the gateway makes one: its NATS credentials alone may publish callers' requests."""

    user_id: str
    username: str
    role: Role
    session_id: str

    def header(self) -> str:
        """The form in which it travels in a message header: JSON in ASCII."""
        return _ADAPTER.dump_json(self, ensure_ascii=True).decode()


_ADAPTER = TypeAdapter(Caller)


def from_header(value: str) -> Caller:
    """Read a caller; raises pydantic's `ValidationError` on anything else."""
    return _ADAPTER.validate_json(value)
