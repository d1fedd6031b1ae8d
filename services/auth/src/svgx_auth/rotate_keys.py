"""The command `rotate-keys`: add a signing key to the file. The key is published at once, and begins to sign later."""

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

LEAD_SECONDS = 300
"""Seconds until a new key begins to sign. Every replica and gateway must have the key by then."""

KEEP_SECONDS = 86400 + 300
"""Time, in seconds, for which a superseded key stays published: a token's longest lifetime, plus five minutes."""


def generate(algorithm: str, not_before: int) -> KeyEntry:
    """Return a new private key. Its `kid` is its thumbprint (RFC 7638)."""
    key: OKPKey | ECKey | RSAKey
    match algorithm:
        case "Ed25519":
            key = OKPKey.generate_key("Ed25519")
        case "ES256":
            key = ECKey.generate_key("P-256")
        case _:
            key = RSAKey.generate_key(MIN_RSA_BITS)
    metadata = {"kid": key.thumbprint(), "alg": algorithm, "use": "sig", "nbf": not_before}
    return KeyEntry(read_key(key.as_dict(private=True) | metadata), not_before)


def rotate(
    ring: KeyRing, algorithm: str, now: int, lead: int = LEAD_SECONDS, keep: int = KEEP_SECONDS
) -> KeyRing:
    """Return the ring with a new key that begins to sign `lead` seconds after `now`.

    Until then, the present key signs. Leave out keys that were superseded at least `keep` seconds ago, because the last
    token that they signed has expired.
    """
    entries = sorted(
        (*ring.entries, generate(algorithm, now + lead)), key=lambda entry: entry.not_before
    )
    superseded_at = [*(entry.not_before for entry in entries[1:]), now + lead]
    kept = [
        entry
        for entry, superseded in zip(entries, superseded_at, strict=True)
        if superseded + keep > now
    ]
    return KeyRing(tuple(kept))


def main(arguments: Sequence[str]) -> None:
    """Add a key to the file, and print the keys of the file."""
    parser = argparse.ArgumentParser("svgx_auth rotate-keys", description=__doc__)
    parser.add_argument("--file", type=Path, default=os.environ.get("JWT_KEYS_FILE"))
    parser.add_argument("--algorithm", choices=ASYMMETRIC, default=ASYMMETRIC[0])
    parser.add_argument(
        "--lead", type=int, default=LEAD_SECONDS, help="seconds until the key signs"
    )
    options = parser.parse_args(arguments)
    if options.file is None:
        parser.error("name the file with --file or JWT_KEYS_FILE")
    if options.lead < 0:
        parser.error("--lead: must be 0 or more seconds")
    path, now = Path(options.file), int(time.time())
    try:
        before = key_file.read(path) if path.exists() else KeyRing()
        # After a leak, a key has to sign at once, also when a key was added shortly before.
        waiting = bool(before.entries) and before.entries[-1].not_before > now
        if waiting and options.lead > 0:
            raise ValueError("the newest key does not sign yet; wait until it does")
        ring = rotate(before, options.algorithm, now, options.lead)
        key_file.write(path, ring)
    except (OSError, ValueError) as error:
        sys.exit(f"svgx: {path}: {error}")
    for entry in ring.entries:
        wait = entry.not_before - now
        print(
            f"{entry.key.key_id} {entry.key.algorithm} {f'signs in {wait} s' if wait > 0 else 'signs'}"
        )
