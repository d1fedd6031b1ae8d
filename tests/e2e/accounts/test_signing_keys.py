"""Access tokens signed with keys of a file, rotated while people are signed in."""

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from svgx_devstack import DevStack
from tests.limits import HIGH_LIMITS


def header_of(token: str) -> dict[str, Any]:
    part = token.partition(".")[0]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


async def rotate(path: Path, algorithm: str) -> None:
    command = ["-m", "svgx_auth", "rotate-keys", "--file", str(path), "--lead", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, "--algorithm", algorithm, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


async def test_a_rotation_signs_nobody_out(tmp_path: Path) -> None:
    """Proves R-AUTH-25 and R-AUTH-26: with the command, the services as processes, and every token used on."""
    path = tmp_path / "keys.json"
    await rotate(path, "Ed25519")
    settings = {**HIGH_LIMITS, "JWT_KEYS_FILE": str(path)}
    stack = DevStack(tmp_path / "stack", settings=settings)
    async with stack, httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
        body = {"username": stack.admin_username, "password": stack.admin_password}
        pairs = [(await http.post("/auth/login", json=body)).json()]
        await rotate(path, "ES256")
        started = time.monotonic()
        while header_of(pairs[-1]["access_token"])["alg"] != "ES256":
            assert time.monotonic() - started < 30
            refresh = {"refresh_token": pairs[-1]["refresh_token"]}
            pairs.append((await http.post("/auth/refresh", json=refresh)).json())
        for pair in pairs:
            bearer = {"Authorization": f"Bearer {pair['access_token']}"}
            assert (await http.get("/auth/me", headers=bearer)).status_code == 200
        answer = await http.get("/.well-known/jwks.json")
        keys = answer.json()["keys"]
        assert [key["alg"] for key in keys] == ["Ed25519", "ES256"]
        assert {header_of(pair["access_token"])["kid"] for pair in pairs} == {
            key["kid"] for key in keys
        }
        assert all("d" not in key for key in keys)
