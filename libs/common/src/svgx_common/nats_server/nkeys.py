"""NKeys, the Ed25519 keys with which the services sign in to NATS.

A service signs the NATS server's nonce with the private key in its seed. The server knows only the public key.

Format: a prefix, the key and a CRC-16, in base32 without padding (`nats-io/nkeys`). This module uses `cryptography`,
which access tokens need too. It does not use the package `nkeys`, because that package is a source distribution and
needs PyNaCl (decision 43).
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_USER = 20 << 3
"""The prefix of a user's public key: the letter U."""

_SEED = 18 << 3
"""The prefix of a seed: the letter S, followed by the prefix of its public key."""

_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class UserKey:
    """The key pair of a NATS user."""

    _private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        """Return a new random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """Return the key of a seed such as `SUA…`.

        Raise `ValueError` for a wrong seed. The text of the error does not contain the seed.
        """
        try:
            content = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
        except (binascii.Error, ValueError):
            raise ValueError("must be in base32") from None
        raw, checksum = content[:-2], content[-2:]
        if len(raw) != 2 + _SEED_BYTES or checksum != _checksum(raw):
            raise ValueError("the seed is damaged or incomplete")
        if (raw[0] & 0xF8, (raw[0] & 0x07) << 5 | raw[1] >> 3) != (_SEED, _USER):
            raise ValueError("must be the seed of a user, which begins with SU")
        return cls(Ed25519PrivateKey.from_private_bytes(raw[2:]))

    @property
    def public(self) -> str:
        """The public key, such as `UBX…`."""
        return _encode(bytes([_USER]) + self._private.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        """The seed, such as `SUA…`. It is a secret."""
        prefix = bytes([_SEED | _USER >> 5, (_USER & 0x1F) << 3])
        return _encode(prefix + self._private.private_bytes_raw())

    def sign(self, nonce: str) -> bytes:
        """Return the signature of a server's nonce, in base64."""
        return base64.b64encode(self._private.sign(nonce.encode()))


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    """Return the CRC-16 of the bytes (XMODEM), the lower byte first."""
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")
