"""The file of private keys: reading, writing and rotation."""

import json
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from svgx_auth.keys import key_file
from svgx_auth.keys.key_file import MAX_BYTES, MAX_KEYS, KeyRing
from svgx_auth.rotate_keys import KEEP_SECONDS, LEAD_SECONDS, generate, rotate
from svgx_auth.settings import AuthSettings
from svgx_common.settings import load
from svgx_common.tokens.signing_keys import ASYMMETRIC, read_key

NOW = 1_800_000_000


def ids(ring: KeyRing) -> list[str | None]:
    return [entry.key.key_id for entry in ring.entries]


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_new_key_is_published_before_it_signs(algorithm: str) -> None:
    """Proves R-AUTH-25: until a new key signs, the previous key signs. Without a previous key, no key signs."""
    first = rotate(KeyRing(), algorithm, NOW)
    assert first.signing(NOW + LEAD_SECONDS - 1) is None
    key = first.signing(NOW + LEAD_SECONDS)
    assert key is not None
    assert key.algorithm == algorithm
    second = rotate(first, algorithm, NOW + 10_000)
    assert len(second.entries) == 2
    assert second.signing(NOW + 10_000 + LEAD_SECONDS - 1) == key
    assert second.signing(NOW + 10_000 + LEAD_SECONDS) == second.entries[1].key


def test_key_stays_published_until_its_last_token_expires() -> None:
    """Proves R-AUTH-25: a rotation removes a key only after the key's last token has expired."""
    ring = rotate(KeyRing(), "ES256", NOW)
    ring = rotate(ring, "ES256", NOW + 10_000)
    superseded_at = NOW + 10_000 + LEAD_SECONDS
    assert ids(rotate(ring, "ES256", superseded_at + KEEP_SECONDS - 1))[:2] == ids(ring)
    assert ids(rotate(ring, "ES256", superseded_at + KEEP_SECONDS))[:1] == ids(ring)[1:]


def test_written_keys_are_read_back(tmp_path: Path) -> None:
    """Proves R-AUTH-25: reading returns the written keys, and only the file's owner can read the file."""
    path = tmp_path / "keys.json"
    ring = KeyRing(tuple(generate(algorithm, NOW) for algorithm in ASYMMETRIC))
    key_file.write(path, ring)
    assert [entry.private() for entry in key_file.read(path).entries] == [
        entry.private() for entry in ring.entries
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_ring_with_too_many_keys_is_not_written(tmp_path: Path) -> None:
    """Proves R-AUTH-25: rotations that follow too closely are refused, and the file keeps its keys."""
    path, ring = tmp_path / "keys.json", KeyRing()
    for number in range(MAX_KEYS):
        ring = rotate(ring, "Ed25519", NOW + number * LEAD_SECONDS)
        key_file.write(path, ring)
    ring = rotate(ring, "Ed25519", NOW + MAX_KEYS * LEAD_SECONDS)
    with pytest.raises(ValueError, match="more than 32 keys; rotate less often"):
        key_file.write(path, ring)
    assert len(key_file.read(path).entries) == MAX_KEYS


def test_published_key_has_no_private_part() -> None:
    """Proves R-AUTH-26: a published key contains no private part, for each kind of key."""
    for algorithm in ASYMMETRIC:
        public = generate(algorithm, NOW).public()
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(public)
        assert {"kid", "alg", "use", "nbf", "kty"} <= set(public)


def test_published_key_has_no_other_member_of_the_file(tmp_path: Path) -> None:
    """Proves R-AUTH-26: `key_ops` is not published, because `sign` in it would forbid gateways to verify tokens."""
    path = tmp_path / "keys.json"
    key = generate("Ed25519", NOW)
    others = {"key_ops": ["sign"], "ext": True, "note": "a note of the operator"}
    path.write_text(json.dumps({"keys": [key.private() | others]}))
    (entry,) = key_file.read(path).entries
    assert entry.public() == key.public()
    read_key(entry.public()).key.check_key_op("verify")


def metadata(**changes: Any) -> dict[str, Any]:
    return {"kid": "one", "alg": "Ed25519", "use": "sig"} | changes


def broken_files() -> dict[str, Any]:
    """Return the content of a broken file for each description of a defect."""
    okp = OKPKey.generate_key("Ed25519").as_dict(private=True)
    other = OKPKey.generate_key("Ed448").as_dict(private=True)
    with warnings.catch_warnings(action="ignore"):
        rsa = RSAKey.generate_key(1024).as_dict(private=True)
    p384 = ECKey.generate_key("P-384").as_dict(private=True)
    secret = OctKey.generate_key(256).as_dict(private=True)
    public = OKPKey.generate_key("Ed25519").as_dict(private=False)
    good = okp | metadata()
    other_public = {"x": public["x"]}
    return {
        "not JSON": "{",
        "a key set that continues beyond the largest size": json.dumps({"keys": [good]})
        + " " * MAX_BYTES,
        "an array": [],
        "keys that are no objects": {"keys": ["x"]},
        "no keys": {"keys": []},
        "too many keys": {"keys": [good | {"kid": str(n)} for n in range(33)]},
        "two keys with the same kid": {"keys": [good, good]},
        "no kid": {"keys": [okp | {"alg": "Ed25519"}]},
        "a long kid": {"keys": [good | {"kid": "x" * 129}]},
        "no algorithm": {"keys": [okp | {"kid": "one"}]},
        "the algorithm of another kind of key": {"keys": [good | {"alg": "ES256"}]},
        "the algorithm none": {"keys": [good | {"alg": "none"}]},
        "another Edwards curve": {"keys": [other | metadata()]},
        "another elliptic curve": {"keys": [p384 | metadata(alg="ES256")]},
        "a short RSA key": {"keys": [rsa | metadata(alg="RS256")]},
        "a symmetric key": {"keys": [secret | metadata(alg="HS256")]},
        "a public key": {"keys": [public | metadata()]},
        "malformed numbers": {"keys": [metadata(kty="OKP", crv="Ed25519", x="!", d="!")]},
        "a key for verification only": {"keys": [good | {"key_ops": ["verify"]}]},
        "a key for encryption": {"keys": [good | {"use": "enc"}]},
        "the public part of another key": {"keys": [good | other_public]},
        "nbf that is no number": {"keys": [good | {"nbf": "soon"}]},
    }


@pytest.mark.parametrize("defect", list(broken_files()))
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_broken_key_file_stops_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    defect: str,
) -> None:
    """Proves R-AUTH-25: the error is one line that names the variable and contains no key."""
    content = broken_files()[defect]
    path = tmp_path / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setenv("POSTGRES_URL", "postgresql://localhost/svgx")
    monkeypatch.setenv("JWT_SECRET", "secret")
    monkeypatch.setenv("JWT_KEYS_FILE", str(path))
    with pytest.raises(SystemExit):
        load(AuthSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("svgx: JWT_KEYS_FILE: ")
    for jwk in content.get("keys", []) if isinstance(content, dict) else []:
        for private in ("d", "k"):
            assert (
                not isinstance(jwk, dict)
                or len(jwk.get(private, "")) < 2
                or jwk[private] not in line
            )


def run_rotate_keys(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "svgx_auth", "rotate-keys", *arguments]
    environment = {"JWT_KEYS_FILE": str(path)}
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment)


def test_rotate_command_without_lead_adds_a_signing_key_before_a_waiting_key(
    tmp_path: Path,
) -> None:
    """Proves R-AUTH-25: after a leak, another key can sign at once, also while the newest key does not sign yet."""
    path = tmp_path / "keys.json"
    for arguments in (("--lead", "0"), ()):
        assert run_rotate_keys(path, *arguments).returncode == 0
    leaked, waiting = ids(key_file.read(path))
    added = run_rotate_keys(path, "--lead", "0")
    assert added.returncode == 0, added.stderr
    ring = key_file.read(path)
    assert (ids(ring)[0], ids(ring)[2]) == (leaked, waiting)
    assert ring.signing(time.time()) == ring.entries[1].key
    assert ring.signing(time.time() + 301) == ring.entries[2].key


def test_rotate_command_creates_the_file_and_adds_keys(tmp_path: Path) -> None:
    """Proves R-AUTH-25: the command creates the file. With a lead, it adds a key only if the newest key signs."""
    path = tmp_path / "keys.json"
    created = run_rotate_keys(path, "--lead", "0")
    assert created.returncode == 0, created.stderr
    first = key_file.read(path)
    assert first.signing(time.time()) is not None
    assert created.stdout == f"{first.entries[0].key.key_id} Ed25519 signs\n"
    assert run_rotate_keys(path, "--algorithm", "ES256").returncode == 0
    second = key_file.read(path)
    assert ids(second)[0] == ids(first)[0]
    assert second.signing(time.time()) == second.entries[0].key
    refused = run_rotate_keys(path)
    assert refused.returncode != 0
    assert "does not sign yet" in refused.stderr
    assert ids(key_file.read(path)) == ids(second)
    path.write_text("{")
    assert run_rotate_keys(path).returncode != 0
    assert path.read_text() == "{"
