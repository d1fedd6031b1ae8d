"""Check whether the caller of an operation has a session or uses an API key."""

from svgx_common.contract.errors import Forbidden
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call


def caller_with_session(call: Call) -> Caller:
    """Return the caller. Raises `Forbidden` when the caller uses an API key instead of a session."""
    refuse_api_key(call)
    return call.signed_in_caller()


def refuse_api_key(call: Call) -> None:
    """Raise `Forbidden` for an API key, because a stolen key must not create keys or take over accounts."""
    if call.caller is not None and call.caller.by_key:
        raise Forbidden("an API key does not allow this; log in")


def caller_id(call: Call) -> str:
    """Return the id of the caller's account, or an empty text when a service is the caller."""
    return call.caller.user_id if call.caller is not None else ""
