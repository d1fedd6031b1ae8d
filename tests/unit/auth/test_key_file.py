"""The file of private keys: what is in it, and how it is rotated."""

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
from svgx_auth.keys.key_file import KeyRing
from svgx_auth.rotate_keys import KEEP, LEAD, generate, rotate
from svgx_auth.settings import AuthSettings
from svgx_common.settings import load
from svgx_common.tokens.signing_keys import ASYMMETRIC

NOW = 1_800_000_000


def ids(ring: KeyRing) -> list[str | None]:
    return [entry.key.key_id for entry in ring.entries]


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_new_key_is_published_before_it_signs(algorithm: str) -> None:
    """Proves R-AUTH-25: until then the one before signs; at first, none."""
    first = rotate(KeyRing(), algorithm, NOW)
    assert first.signing(NOW + LEAD - 1) is None
    key = first.signing(NOW + LEAD)
    assert key is not None
    assert key.algorithm == algorithm
    second = rotate(first, algorithm, NOW + 10_000)
    assert len(second.entries) == 2
    assert second.signing(NOW + 10_000 + LEAD - 1) == key
    assert second.signing(NOW + 10_000 + LEAD) == second.entries[1].key


def test_a_key_stays_as_long_as_its_tokens() -> None:
    """Proves R-AUTH-25: and goes then."""
    ring = rotate(KeyRing(), "ES256", NOW)
    ring = rotate(ring, "ES256", NOW + 10_000)
    superseded = NOW + 10_000 + LEAD
    assert ids(rotate(ring, "ES256", superseded + KEEP - 1))[:2] == ids(ring)
    assert ids(rotate(ring, "ES256", superseded + KEEP))[:1] == ids(ring)[1:]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Proves R-AUTH-25: and only its owner reads it."""
    path = tmp_path / "keys.json"
    ring = KeyRing(tuple(generate(algorithm, NOW) for algorithm in ASYMMETRIC))
    key_file.write(path, ring)
    assert [entry.private() for entry in key_file.read(path).entries] == [
        entry.private() for entry in ring.entries
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_what_is_published_is_public() -> None:
    """Proves R-AUTH-26: no private part of any kind of key."""
    for algorithm in ASYMMETRIC:
        public = generate(algorithm, NOW).public()
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(public)
        assert {"kid", "alg", "use", "nbf", "kty"} <= set(public)


def about(**changes: Any) -> dict[str, Any]:
    return {"kid": "one", "alg": "Ed25519", "use": "sig"} | changes


def broken() -> dict[str, Any]:
    okp = OKPKey.generate_key("Ed25519").as_dict(private=True)
    other = OKPKey.generate_key("Ed448").as_dict(private=True)
    with warnings.catch_warnings(action="ignore"):
        rsa = RSAKey.generate_key(1024).as_dict(private=True)
    p384 = ECKey.generate_key("P-384").as_dict(private=True)
    secret = OctKey.generate_key(256).as_dict(private=True)
    public = OKPKey.generate_key("Ed25519").as_dict(private=False)
    good = okp | about()
    return {
        "no JSON": "{",
        "an array": [],
        "keys of another kind": {"keys": ["x"]},
        "no keys": {"keys": []},
        "too many keys": {"keys": [good | {"kid": str(n)} for n in range(33)]},
        "two of one name": {"keys": [good, good]},
        "without a name": {"keys": [okp | {"alg": "Ed25519"}]},
        "with a long name": {"keys": [good | {"kid": "x" * 129}]},
        "without an algorithm": {"keys": [okp | {"kid": "one"}]},
        "of another algorithm": {"keys": [good | {"alg": "ES256"}]},
        "of no algorithm": {"keys": [good | {"alg": "none"}]},
        "of another curve": {"keys": [other | about()]},
        "of another elliptic curve": {"keys": [p384 | about(alg="ES256")]},
        "a short RSA key": {"keys": [rsa | about(alg="RS256")]},
        "a secret": {"keys": [secret | about(alg="HS256")]},
        "a public key": {"keys": [public | about()]},
        "no key": {"keys": [about(kty="OKP", crv="Ed25519", x="!", d="!")]},
        "a time that is none": {"keys": [good | {"nbf": "soon"}]},
    }


@pytest.mark.parametrize("what", list(broken()))
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_broken_file_stops_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    """Proves R-AUTH-25: with one line that names the variable, and shows no key."""
    content = broken()[what]
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


def command(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "svgx_auth", "rotate-keys", *arguments]
    environment = {"JWT_KEYS_FILE": str(path)}
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment)


def test_the_command_rotates(tmp_path: Path) -> None:
    """Proves R-AUTH-25: it makes the file, adds to it, and never hastens."""
    path = tmp_path / "keys.json"
    made = command(path, "--lead", "0")
    assert made.returncode == 0, made.stderr
    first = key_file.read(path)
    assert first.signing(time.time()) is not None
    assert made.stdout == f"{first.entries[0].key.key_id} Ed25519 signs\n"
    assert command(path, "--algorithm", "ES256").returncode == 0
    second = key_file.read(path)
    assert ids(second)[0] == ids(first)[0]
    assert second.signing(time.time()) == second.entries[0].key
    again = command(path)
    assert again.returncode != 0
    assert "does not sign yet" in again.stderr
    assert ids(key_file.read(path)) == ids(second)
    path.write_text("{")
    assert command(path).returncode != 0
    assert path.read_text() == "{"
