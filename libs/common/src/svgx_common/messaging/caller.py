"""Who makes a call and from where, as the gateway found out and every service believes it."""

import functools
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
    token_version: int = 0
    """The account's, when the access token was issued: a change of role ends the tokens before it."""
    by_key: bool = False
    """Whether an API key stands for the user; `session_id` is the key's id then."""

    def header(self) -> str:
        """The form in which it travels in a message header: JSON in ASCII."""
        return _header(self)


@dataclass(frozen=True, slots=True)
class Client:
    """Where a call comes from: the address the gateway saw, and what the program calls itself."""

    address: str = ""
    user_agent: str = ""

    def header(self) -> str:
        """The form in which it travels in a message header: JSON in ASCII."""
        return _header(self)


_CALLER = TypeAdapter(Caller)
_CLIENT = TypeAdapter(Client)


@functools.lru_cache(maxsize=4096)  # the same few, again and again
def _header(who: Caller | Client) -> str:
    if isinstance(who, Caller):
        return _CALLER.dump_json(who, ensure_ascii=True).decode()
    return _CLIENT.dump_json(who, ensure_ascii=True).decode()


def from_header(value: str) -> Caller:
    """Read a caller; raises pydantic's `ValidationError` on anything else."""
    return _CALLER.validate_json(value)


def client_from_header(value: str) -> Client:
    """Read a client; raises pydantic's `ValidationError` on anything else."""
    return _CLIENT.validate_json(value)
