"""`python -m svgx_auth rotate-keys`: a new key in the file, published now and signing a little later."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from joserfc.jwk import ECKey, OKPKey, RSAKey

from svgx_auth.keys import key_file
from svgx_auth.keys.key_file import KeyEntry, KeyRing
from svgx_common.tokens.signing_keys import ASYMMETRIC, MIN_RSA_BITS, read_key

LEAD = 300
"""Seconds until a new key signs: every replica and gateway must have it by then."""

KEEP = 86400 + 300
"""Seconds a key is published after the next one began: the longest life of a token it signed, and a little more."""


def generate(algorithm: str, not_before: int) -> KeyEntry:
    """A new private key, whose `kid` is its thumbprint (RFC 7638)."""
    key: OKPKey | ECKey | RSAKey
    match algorithm:
        case "Ed25519":
            key = OKPKey.generate_key("Ed25519")
        case "ES256":
            key = ECKey.generate_key("P-256")
        case _:
            key = RSAKey.generate_key(MIN_RSA_BITS)
    about = {"kid": key.thumbprint(), "alg": algorithm, "use": "sig", "nbf": not_before}
    return KeyEntry(read_key(key.as_dict(private=True) | about), not_before)


def rotate(ring: KeyRing, algorithm: str, now: int, lead: int = LEAD, keep: int = KEEP) -> KeyRing:
    """The ring with a new key, and without those whose last token has ended. Nothing is signed differently now."""
    entries = (*ring.entries, generate(algorithm, now + lead))
    followers = [entry.not_before for entry in entries[1:]]
    kept = [
        entry
        for entry, superseded in zip(entries, [*followers, now + lead], strict=True)
        if superseded + keep > now
    ]
    return KeyRing(tuple(kept))


def main(arguments: Sequence[str]) -> None:
    """Change the file, and say which keys it has."""
    parser = argparse.ArgumentParser("svgx_auth rotate-keys", description=__doc__)
    parser.add_argument("--file", type=Path, default=os.environ.get("JWT_KEYS_FILE"))
    parser.add_argument("--algorithm", choices=ASYMMETRIC, default=ASYMMETRIC[0])
    parser.add_argument("--lead", type=int, default=LEAD, help="seconds until the key signs")
    given = parser.parse_args(arguments)
    if given.file is None:
        parser.error("name the file: --file, or JWT_KEYS_FILE")
    if given.lead < 0:
        parser.error("--lead: 0 or more seconds")
    path, now = Path(given.file), int(time.time())
    try:
        before = key_file.read(path) if path.exists() else KeyRing()
        if before.entries and before.entries[-1].not_before > now:
            raise ValueError("its newest key does not sign yet; wait until it does")
        ring = rotate(before, given.algorithm, now, given.lead)
        key_file.write(path, ring)
    except (OSError, ValueError) as error:
        sys.exit(f"svgx: {path}: {error}")
    for entry in ring.entries:
        wait = entry.not_before - now
        print(
            f"{entry.key.key_id} {entry.key.algorithm} {f'signs in {wait} s' if wait > 0 else 'signs'}"
        )
