"""Keys derived from the server's secret (`JWT_SECRET`), one for each purpose."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
"""Length of a derived key in bytes."""


def derived_key(secret: str, purpose: bytes) -> bytes:
    """Derive a key by HKDF-SHA256 (RFC 5869).

    A derived key reveals neither the secret nor the derived key of another purpose.
    """
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret.encode())
