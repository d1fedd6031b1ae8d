"""Rotation of the signing keys in a key file during sessions."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx

from svgx_devstack import DevStack
from tests.e2e.cluster.configured import rotate_keys
from tests.polling import REQUEST_POLL_SECONDS, pause


def token_header(token: str) -> dict[str, Any]:
    """Return the header of a JWT."""
    part = token.partition(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return header


async def test_key_rotation_keeps_all_sessions(configured_stack: DevStack, key_file: Path) -> None:
    """Tokens signed with the old or the new key are valid after the rotation. Proves R-AUTH-25 and R-AUTH-26."""
    stack = configured_stack
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
        body = {"username": stack.admin_username, "password": stack.admin_password}
        token_pairs = [(await http.post("/auth/login", json=body)).json()]
        await rotate_keys(key_file, "ES256")
        started = time.monotonic()
        while token_header(token_pairs[-1]["access_token"])["alg"] != "ES256":
            assert time.monotonic() - started < 30
            await pause(REQUEST_POLL_SECONDS)
            refresh = {"refresh_token": token_pairs[-1]["refresh_token"]}
            token_pairs.append((await http.post("/auth/refresh", json=refresh)).json())
        for pair in token_pairs:
            bearer = {"Authorization": f"Bearer {pair['access_token']}"}
            assert (await http.get("/auth/me", headers=bearer)).status_code == 200
        response = await http.get("/.well-known/jwks.json")
        keys = response.json()["keys"]
        assert [key["alg"] for key in keys] == ["Ed25519", "ES256"]
        assert {token_header(pair["access_token"])["kid"] for pair in token_pairs} == {
            key["kid"] for key in keys
        }
        assert all("d" not in key for key in keys)
