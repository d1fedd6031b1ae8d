"""The file of private keys that sign access tokens: a JWK Set (RFC 7517) with the additional field `nbf`.

`nbf` is the Unix time, in seconds, from which a key signs. The key is published earlier, so that every gateway has the
key before it receives a token signed with the key.
"""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from svgx_common.tokens.signing_keys import TokenKey, read_key

MAX_BYTES = 1024 * 1024
"""Maximum size of a file in bytes. A larger file is refused."""

MAX_KEYS = 32
"""Maximum number of keys in a file. A file with more keys is refused."""

PUBLISHED_MEMBERS = frozenset({"kty", "kid", "alg", "use", "nbf", "crv", "x", "y", "n", "e"})
"""The members of a key that are published.

All other members of the file are left out. For example, `key_ops` with the value `sign` would forbid verification.
"""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A private key, and the Unix time in seconds from which it signs."""

    key: TokenKey
    not_before: int

    def public(self) -> dict[str, Any]:
        """Return the public JWK, which is published."""
        jwk = self.key.key.as_dict(private=False)
        return {name: value for name, value in jwk.items() if name in PUBLISHED_MEMBERS}

    def private(self) -> dict[str, Any]:
        """Return the private JWK, which is written to the file."""
        return dict(self.key.key.as_dict(private=True))


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of a file, in the order in which they begin to sign."""

    entries: tuple[KeyEntry, ...] = ()

    def signing(self, now: float) -> TokenKey | None:
        """Return the key that began to sign last, or None when no key signs yet."""
        started = [entry.key for entry in self.entries if entry.not_before <= now]
        return started[-1] if started else None


def read(path: Path) -> KeyRing:
    """Read a file of keys. Raises `ValueError`; its message never contains a key."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise ValueError(f"the file has more than {MAX_BYTES} bytes")
    try:
        content = json.loads(text)
    except ValueError:
        raise ValueError("the file is not a JWK Set: it is not JSON") from None
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not all(isinstance(jwk, dict) for jwk in keys):
        raise ValueError('the file is not a JWK Set: it must be {"keys": [...]}')
    if not 0 < len(keys) <= MAX_KEYS:
        raise ValueError(f"the file must have 1 to {MAX_KEYS} keys")
    entries = sorted((_entry(jwk) for jwk in keys), key=lambda entry: entry.not_before)
    if len({entry.key.key_id for entry in entries}) < len(entries):
        raise ValueError("two keys have the same `kid`")
    return KeyRing(tuple(entries))


def write(path: Path, ring: KeyRing) -> None:
    """Write the keys to the file `path`, and replace an old file atomically. Raises `OSError`.

    Only its owner can read the new file. Raises `ValueError` for more keys than `read` accepts.
    """
    if len(ring.entries) > MAX_KEYS:
        raise ValueError(f"the file would have more than {MAX_KEYS} keys; rotate less often")
    content = json.dumps({"keys": [entry.private() for entry in ring.entries]}, indent=2) + "\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _entry(jwk: dict[str, Any]) -> KeyEntry:
    key = read_key(jwk)
    if not key.key.is_private:
        raise ValueError(f"key {key.key_id} is public and cannot sign")
    not_before = jwk.get("nbf", 0)
    if not isinstance(not_before, int) or isinstance(not_before, bool):
        raise ValueError(f"key {key.key_id}: `nbf` must be a whole number of seconds")
    entry = KeyEntry(key, not_before)
    _check_signature(entry)
    return entry


def _check_signature(entry: KeyEntry) -> None:
    """Raise `ValueError` unless the published part of a key verifies a signature of the key.

    A key with `key_ops` or `use` for another purpose cannot sign. The public part of an Ed25519 key may belong to
    another key.
    """
    algorithm = entry.key.algorithm
    try:
        token = jwt.encode({"alg": algorithm}, {}, entry.key.key, algorithms=[algorithm])
        jwt.decode(token, read_key(entry.public()).key, algorithms=[algorithm])
    except JoseError:
        raise ValueError(
            f"key {entry.key.key_id} cannot sign, or its public part does not fit its private part"
        ) from None
