"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a POST that is sent again is not done again.

What was answered is kept in Redis for a while. Redis may lose it: then, and while it is gone, a repeated request is
done again, as it would be without a key.
"""

import base64
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import Counter
from redis.commands.core import AsyncScript
from starlette.responses import Response

from svgx_common.contract.errors import Conflict, Invalid
from svgx_common.contract.operation import Http, Operation
from svgx_common.contract.policy import Scope
from svgx_common.messaging.caller import Caller
from svgx_common.redis import Redis, RedisError

log = structlog.get_logger(__name__)

UNKEPT = Counter(
    "svgx_engine_idempotency_unkept",
    "Requests with an Idempotency-Key that could not be kept, because Redis did not answer.",
)

MAX_ANSWER = 256 * 1024
"""Bytes of an answer that is kept."""

SPARE = 5.0
"""Seconds past an operation's time limit after which nobody is at it any more."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("content-type", "content-disposition", "location")

# Replaces (or, without ARGV[2], removes) the note that a request is under way, as long as it is ours.
_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that is under way."""

    key: str
    note: str
    fingerprint: str


def check_key(value: str) -> str:
    """The key as the client meant it. Raises `Invalid`."""
    key = value.strip().removeprefix('"').removesuffix('"')
    if not _KEY.fullmatch(key):
        raise Invalid(
            "Idempotency-Key: 1 to 255 visible ASCII characters",
            field="idempotency-key",
            limit=255,
        )
    return key


def applies(operation: Operation[Any, Any], http: Http) -> bool:
    """Whether a key counts: for what changes something, by somebody, and has no password in it.

    The fingerprint of a request with a password would be a fast hash of it, which Argon2id is there to prevent.
    """
    fields = operation.request.model_fields
    return (
        http.method == "POST"
        and operation.scope is not Scope.PUBLIC
        and not any("password" in name for name in fields)
    )


def fingerprint(method: str, target: str, body: bytes) -> str:
    """What makes two requests the same one. `target` is path and query."""
    return hashlib.sha256(f"{method} {target}\n".encode() + body).hexdigest()


class Idempotency:
    """Keeps answers for `seconds`."""

    def __init__(self, redis: Redis, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._finish: AsyncScript = redis.register_script(_FINISH)

    async def begin(
        self, caller: Caller, key: str, mark: str, timeout: float
    ) -> Ticket | Response | None:
        """A ticket to go on with, the answer that was given before, or None when nothing can be kept.

        Raises `Conflict` while the same request is under way, and `Invalid` when the key was another request's.
        """
        name = hashlib.sha256(f"{caller.user_id}\0{caller.session_id}\0{key}".encode()).hexdigest()
        ticket = Ticket(
            f"svgx:idempotency:{name}",
            json.dumps({"fingerprint": mark, "by": secrets.token_hex(8)}),
            mark,
        )
        try:
            found = await self._redis.set(
                ticket.key, ticket.note, nx=True, get=True, px=int((timeout + SPARE) * 1000)
            )
        except (RedisError, OSError):
            UNKEPT.inc()
            return None
        # Our own note: the client repeated the command because it lost the answer.
        if found is None or found == ticket.note:
            return ticket
        return _answer(json.loads(str(found)), mark)

    async def finish(self, ticket: Ticket, response: Response | None, *, secret: bool) -> None:
        """Keep the answer; with None, or one that may be another next time, let the request be made again.

        Of a `secret` answer only that there was one is kept.
        """
        kept = ""
        if response is not None and response.status_code < 500 and response.status_code != 429:
            body = bytes(response.body)
            if len(body) <= MAX_ANSWER:
                kept = json.dumps(
                    {
                        "fingerprint": ticket.fingerprint,
                        "status": response.status_code,
                        "headers": {
                            name: response.headers[name]
                            for name in _KEPT_HEADERS
                            if name in response.headers
                        },
                        "body": None if secret else base64.b64encode(body).decode(),
                    }
                )
        try:
            await self._finish(keys=[ticket.key], args=[ticket.note, kept, self._seconds])
        except (RedisError, OSError):
            UNKEPT.inc()


def _answer(kept: dict[str, object], mark: str) -> Response:
    if kept["fingerprint"] != mark:
        raise Invalid("Idempotency-Key: it was used for another request", field="idempotency-key")
    if "status" not in kept:
        raise Conflict("the same request is under way", field="idempotency-key", retry_after=1.0)
    if kept["body"] is None:
        raise Conflict(
            "this was done before; its answer is shown once only", field="idempotency-key"
        )
    headers = kept["headers"]
    assert isinstance(headers, dict)
    response = Response(base64.b64decode(str(kept["body"])), int(str(kept["status"])))
    response.headers.update({**headers, "Idempotency-Replayed": "true"})
    return response
