"""The caller and the client of a request. The gateway determines both, and every service trusts the gateway."""

import functools
from dataclasses import dataclass

from pydantic import TypeAdapter

from svgx_common.contract.policy import Role


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user. Only the gateway can send callers: NATS lets no other service publish requests of users."""

    user_id: str
    username: str
    role: Role
    session_id: str
    token_version: int = 0
    """The account's token version when the access token was issued.

    Tokens of earlier versions are revoked. The version rises, for example, when the account's role changes or an admin
    sets its password.
    """
    by_key: bool = False
    """True when an API key authenticates the user. `session_id` is then the id of the key."""

    @property
    def credential(self) -> str:
        """Return the kind of credential that authenticates the user, for messages to people."""
        return "API key" if self.by_key else "access token"

    def to_header(self) -> str:
        """Return the value of `HEADER_CALLER`: JSON in ASCII."""
        return _to_header(self)

    @classmethod
    def from_header(cls, value: str) -> "Caller":
        """Read the value of `HEADER_CALLER`. Raise pydantic's `ValidationError` for any other text."""
        return _CALLER.validate_json(value)


@dataclass(frozen=True, slots=True)
class Client:
    """The program that sent an HTTP request: its IP address as the gateway sees it, and its `User-Agent`."""

    address: str = ""
    user_agent: str = ""

    def to_header(self) -> str:
        """Return the value of `HEADER_CLIENT`: JSON in ASCII."""
        return _to_header(self)

    @classmethod
    def from_header(cls, value: str) -> "Client":
        """Read the value of `HEADER_CLIENT`. Raise pydantic's `ValidationError` for any other text."""
        return _CLIENT.validate_json(value)


_CALLER = TypeAdapter(Caller)
_CLIENT = TypeAdapter(Client)


@functools.lru_cache(maxsize=4096)  # a few callers and clients send most of the requests
def _to_header(value: Caller | Client) -> str:
    if isinstance(value, Caller):
        return _CALLER.dump_json(value, ensure_ascii=True).decode()
    return _CLIENT.dump_json(value, ensure_ascii=True).decode()
