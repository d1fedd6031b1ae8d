"""Signatures of deliveries, as Standard Webhooks defines them (standardwebhooks.com, version 1)."""

import base64
import hashlib
import hmac
import secrets

PREFIX = "whsec_"
"""The beginning of each secret, so that tools find leaked secrets."""

SECRET_BYTES = 32


def new_secret() -> str:
    """Return a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery. `timestamp` is the time of this attempt, in Unix seconds.

    The signature is HMAC-SHA256 over the id, the timestamp and the body, with full stops between them.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
