"""Keys for one purpose each, derived from the server's secret."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


def derived_key(secret: str, purpose: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869): a key tells nothing of the secret, nor of a key for another purpose."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret.encode())
