"""The caller and the client of a request. The gateway determines both, and every service trusts the gateway."""

import functools
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from svgx_common.contract.policy import Role

VISITOR_NAME = "share link"
"""The name of all callers without an account. It has a space, so no account has this name."""


VISITOR_PREFIX = "link-"
"""The prefix of visitors' ids. No account's id begins with it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, or a visitor with a share link and without an account.

    Only the gateway can send callers: NATS lets no other service publish requests of users.
    """

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
    link_id: str | None = None
    """The id of the share link that the caller has, or None. A link gives a role on its own canvas only."""
    link_creator: str | None = None
    """The account that created the link of a visitor, or None for a caller with an account."""
    account_role: Role | None = None
    """The role of the account if `role` is the lower role of an API key, or None if both are equal."""

    @classmethod
    def of_link(cls, link_id: str, creator: str | None = None) -> "Caller":
        """Return a visitor: a caller with a share link and without an account.

        All visitors of one link have the same id: `link-` and the link's id. No account has such an id.
        """
        return cls(
            f"{VISITOR_PREFIX}{link_id}",
            VISITOR_NAME,
            Role.VIEWER,
            link_id,
            link_id=link_id,
            link_creator=creator,
        )

    @property
    def is_visitor(self) -> bool:
        """Return whether the caller has a share link and no account."""
        return self.link_id is not None and self.user_id == f"{VISITOR_PREFIX}{self.link_id}"

    @property
    def charged_account(self) -> tuple[str, Role]:
        """Return the account that the caller's edits count towards, and the role that decides its quotas.

        Edits of a visitor count towards the account that created the link, with the bounds of an editor, because the
        gateway does not know the role of that account.
        """
        if self.is_visitor and self.link_creator is not None:
            return self.link_creator, Role.EDITOR
        return self.user_id, self.role_for_limits

    @property
    def role_for_limits(self) -> Role:
        """Return the role that decides the account's rate limits and quotas, which are the same for all its keys."""
        return self.account_role or self.role

    def with_link(self, link_id: str | None) -> "Caller":
        """Return the caller with another share link, or without one."""
        return replace(self, link_id=link_id)

    @property
    def credential(self) -> str:
        """Return the kind of credential that authenticates the user, for messages to people."""
        if self.is_visitor:
            return "share link"
        return "API key" if self.by_key else "access token"

    def to_header(self) -> str:
        """Return the value of `HEADER_CALLER`: JSON in ASCII."""
        return _to_header(self)

    @classmethod
    def from_header(cls, value: str) -> "Caller":
        """Read the value of `HEADER_CALLER`. Raise pydantic's `ValidationError` for any other text."""
        return _caller_of(value)


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
        return _client_of(value)


_CALLER = TypeAdapter(Caller)
_CLIENT = TypeAdapter(Client)


@functools.lru_cache(maxsize=4096)  # a few callers and clients send most of the requests
def _to_header(value: Caller | Client) -> str:
    if isinstance(value, Caller):
        return _CALLER.dump_json(value, ensure_ascii=True).decode()
    return _CLIENT.dump_json(value, ensure_ascii=True).decode()


@functools.lru_cache(maxsize=4096)
def _caller_of(value: str) -> Caller:
    return _CALLER.validate_json(value)


@functools.lru_cache(maxsize=4096)
def _client_of(value: str) -> Client:
    return _CLIENT.validate_json(value)
