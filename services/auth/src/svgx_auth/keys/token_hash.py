"""The hash that is stored in place of a random text: a refresh token, an API key, or the state or cookie of a sign-in.

A hash of 256 random bits needs neither a salt nor a slow hash function.
"""

import hashlib


def hash_of(text: str) -> bytes:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()
