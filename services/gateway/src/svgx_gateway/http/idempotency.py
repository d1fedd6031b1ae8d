"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a repeated POST is executed once.

The response is stored in Redis for `IDEMPOTENCY_SECONDS`. If Redis loses the response, or is not reachable, a repeated
request is executed again, as without a key. A refusal is not stored, because most refusals depend on a state that can
change, such as a quota, a role or a running backup.
"""

import base64
import hashlib
import json
import re
import secrets
from dataclasses import dataclass

import structlog
from prometheus_client import Counter
from redis.commands.core import AsyncScript
from starlette.responses import Response

from svgx_common.contract.errors import Conflict, Invalid
from svgx_common.messaging.caller import Caller
from svgx_common.redis import Redis, RedisError

log = structlog.get_logger(__name__)

UNKEPT = Counter(
    "svgx_engine_idempotency_unkept",
    "Requests with an Idempotency-Key that are executed again if repeated, because Redis did not answer.",
)

MAX_BODY_BYTES = 256 * 1024
"""Largest response body that is stored, in bytes. After a larger response, a repeated request is executed again."""

MARGIN_SECONDS = 5.0
"""Seconds from the operation's time limit until the entry of a pending request expires.

After this time, a repeated request is executed again.
"""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_STORED_HEADERS = ("content-type", "content-disposition", "location")

# Replaces the entry ARGV[1] of a pending request by ARGV[2] for ARGV[3] seconds, or deletes it when ARGV[2] is empty.
# Changes nothing when the key now has another entry.
_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that is being executed. `entry` is its entry in Redis under `key`."""

    key: str
    entry: str
    fingerprint: str


def parse_key(value: str) -> str:
    """Return the key in a header value, without quotes. Raise `Invalid` if the key does not match `_KEY`."""
    key = value.strip().removeprefix('"').removesuffix('"')
    if not _KEY.fullmatch(key):
        raise Invalid(
            "Idempotency-Key: must be 1 to 255 visible ASCII characters",
            field="idempotency-key",
            limit=255,
        )
    return key


def fingerprint(method: str, target: str, body: bytes) -> str:
    """Return a hash that is equal for equal requests. `target` is path and query."""
    return hashlib.sha256(f"{method} {target}\n".encode() + body).hexdigest()


class Idempotency:
    """Stores responses in Redis, each for `seconds`."""

    def __init__(self, redis: Redis, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._finish: AsyncScript = redis.register_script(_FINISH)

    async def begin(
        self,
        caller: Caller,
        key: str,
        request_fingerprint: str,
        timeout: float,
        *,
        address: str = "",
    ) -> PendingRequest | Response | None:
        """Begin a request with a key. Return the pending request; end it with `finish`.

        Return the stored response if the request was executed before. Return None if Redis does not answer. Raise
        `Conflict` if an earlier request with the key is pending, or had a secret response. Raise `Invalid` if the key
        belongs to a request with another fingerprint. `timeout` is the operation's time limit in seconds.
        """
        # All visitors of a share link have one id, so their addresses tell them apart.
        owner = f"{caller.user_id}\0{address if caller.is_visitor else caller.session_id}"
        name = hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()
        pending = PendingRequest(
            f"svgx:idempotency:{name}",
            json.dumps({"fingerprint": request_fingerprint, "by": secrets.token_hex(8)}),
            request_fingerprint,
        )
        try:
            stored = await self._redis.set(
                pending.key,
                pending.entry,
                nx=True,
                get=True,
                px=int((timeout + MARGIN_SECONDS) * 1000),
            )
        except (RedisError, OSError):
            UNKEPT.inc()
            return None
        # Redis may return the entry of this request, because redis-py repeats a command when the answer is lost.
        if stored is None or stored == pending.entry:
            return pending
        return _stored_response(json.loads(str(stored)), request_fingerprint)

    async def finish(
        self, pending: PendingRequest, response: Response | None, *, secret: bool
    ) -> None:
        """Store the response of an executed request for repeated requests.

        The body of a `secret` response is not stored, and a repeated request gets `Conflict`.

        Nothing is stored if the response is too large, or if it is None because the request was refused or failed.
        The request can then be executed again.
        """
        stored = ""
        if response is not None:
            body = bytes(response.body)
            if len(body) <= MAX_BODY_BYTES:
                stored = json.dumps(
                    {
                        "fingerprint": pending.fingerprint,
                        "status": response.status_code,
                        "headers": {
                            name: response.headers[name]
                            for name in _STORED_HEADERS
                            if name in response.headers
                        },
                        "body": None if secret else base64.b64encode(body).decode(),
                    }
                )
        try:
            await self._finish(keys=[pending.key], args=[pending.entry, stored, self._seconds])
        except (RedisError, OSError):
            UNKEPT.inc()


def _stored_response(stored: dict[str, object], request_fingerprint: str) -> Response:
    if stored["fingerprint"] != request_fingerprint:
        raise Invalid(
            "Idempotency-Key: the key was used for another request", field="idempotency-key"
        )
    if "status" not in stored:
        raise Conflict(
            "the same request is still being executed", field="idempotency-key", retry_after=1.0
        )
    if stored["body"] is None:
        raise Conflict(
            "the request was executed before; its response is sent only once",
            field="idempotency-key",
        )
    headers = stored["headers"]
    assert isinstance(headers, dict)
    response = Response(base64.b64decode(str(stored["body"])), int(str(stored["status"])))
    response.headers.update({**headers, "Idempotency-Replayed": "true"})
    return response
