"""NKeys: seeds, public keys and signatures in the format of NATS."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from svgx_common.nats_server.nkeys import UserKey

SEED = "SUACYRZ2ZTDOBOFSS6BF6BUO6IVI7RIY46S4JM5KMCTZ2CEJNSHSS7G2PM"
PUBLIC = "UBVD5FCLJAPYYNCDGKNKH5OSX7PHXSKKAE3ES7QDJZA34D3EGY3IGO6A"


def test_key_keeps_its_seed() -> None:
    """A key is the same after writing and reading its seed, and a known seed has its known public key."""
    key = UserKey.generate()
    again = UserKey.from_seed(f" {key.seed}\n")
    assert (again.public, again.seed) == (key.public, key.seed)
    assert (key.seed[:2], key.public[0], len(key.public)) == ("SU", "U", 56)
    assert UserKey.from_seed(SEED).public == PUBLIC


def test_signature_is_valid_for_the_public_key() -> None:
    """The server checks the signature with the public key."""
    key = UserKey.generate()
    content = base64.b32decode(key.public)
    public = Ed25519PublicKey.from_public_bytes(content[1:33])
    public.verify(base64.b64decode(key.sign("nonce")), b"nonce")


@pytest.mark.parametrize(
    ("seed", "problem"),
    [
        ("", "incomplete"),
        ("not base32!", "base32"),
        ("SUAAA", "incomplete"),
        (SEED[:-1] + "A", "damaged"),
        (PUBLIC, "incomplete"),
        ("SAA" + SEED[3:], "damaged"),
    ],
)
def test_invalid_seed_is_refused_without_its_text(seed: str, problem: str) -> None:
    """The message states the problem and does not contain the secret."""
    with pytest.raises(ValueError, match=problem) as refused:
        UserKey.from_seed(seed)
    assert not seed or seed not in str(refused.value)
