"""The stored form of an object: compressed, and encrypted if there is a key."""

import base64
import binascii
import hashlib
import os
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
CIPHER = "AES-256-GCM"
_NONCE_BYTES = 12
_COMPRESSION_LEVEL = 1
"""The compression level of zlib. Higher levels take several times as long and save little on Yjs updates."""


class BackupDamaged(Exception):
    """A part of a backup is not as it was written. The message names the object and quotes none of its content."""


def read_key(text: str) -> bytes | None:
    """Decode a key of 32 bytes from base64 or hexadecimal digits. Return None for an empty text. Raise `ValueError`."""
    text = text.strip()
    if not text:
        return None
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else _from_base64(text)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"must be {KEY_BYTES} bytes: base64, such as the output of `openssl rand -base64 {KEY_BYTES}`, "
            f"or {2 * KEY_BYTES} hexadecimal digits"
        )
    return key


def _from_base64(text: str) -> bytes:
    return base64.b64decode(
        text + "=" * (-len(text) % 4),
        altchars=b"-_" if {"-", "_"} & {*text} else None,
        validate=True,
    )


class Seal:
    """The compression of objects, and their encryption if there is a key.

    Each object has a nonce of its own, which precedes the ciphertext. The ciphertext is authenticated together with the
    name of the object, so that an object cannot take the place of another one.
    """

    def __init__(self, key: bytes | None) -> None:
        self._cipher = None if key is None else AESGCM(key)
        self.key_id = (
            None if key is None else hashlib.sha256(b"svgx backup key\0" + key).hexdigest()[:16]
        )
        """An id that is derived from the key and does not reveal it. None without a key."""

    def pack(self, name: str, content: bytes) -> bytes:
        """Return the stored form of an object."""
        packed = zlib.compress(content, _COMPRESSION_LEVEL)
        if self._cipher is None:
            return packed
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, packed, name.encode())

    def unpack(self, name: str, stored: bytes, size: int) -> bytes:
        """Return the content of an object, which has `size` bytes. Raise `BackupDamaged`."""
        packed = stored
        if self._cipher is not None:
            nonce, ciphertext = stored[:_NONCE_BYTES], stored[_NONCE_BYTES:]
            try:
                packed = self._cipher.decrypt(nonce, ciphertext, name.encode())
            except (InvalidTag, ValueError):
                raise BackupDamaged(
                    f"{name} was changed after it was written, or is encrypted with another key"
                ) from None
        inflate = zlib.decompressobj()
        try:
            # Decompress at most one byte more than expected. This byte reveals a larger object without decompressing
            # all of it.
            content = inflate.decompress(packed, size + 1)
        except zlib.error:
            raise BackupDamaged(f"{name} cannot be decompressed") from None
        if len(content) != size or not inflate.eof or inflate.unused_data:
            raise BackupDamaged(f"{name} does not have the size in the manifest")
        return content
