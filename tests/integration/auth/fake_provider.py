"""A fake OpenID Connect provider, for answers that real providers do not give."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, NONCE = "svgx", "n" * 43

MISSING = object()
"""A part of an answer that is removed."""


class FakeProvider:
    """The answers of the fake provider, by path."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = RSAKey.generate_key(2048, parameters={"kid": "1"})
        self.signed_with = self.key
        self.metadata: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        }
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.requests: list[str] = []
        self.changes: dict[str, dict[str, Any] | bytes] = {}
        """The changed parts of the answers, or the bytes of the answers, by path."""
        self.may_answer = threading.Event()
        """The token endpoint answers while this event is set."""
        self.may_answer.set()

    def answer(self, path: str) -> Any:
        """Return the JSON value for a path, or bytes, with the `changes` of this path."""
        value = self._value(path)
        changes = self.changes.get(path, {})
        if isinstance(changes, bytes):
            return changes
        changed: dict[str, Any] = {**value, **changes}
        return {name: part for name, part in changed.items() if part is not MISSING}

    def _value(self, path: str) -> Any:
        self.requests.append(path)
        match path:
            case "/.well-known/openid-configuration":
                return self.metadata
            case "/jwks":
                return {"keys": [self.key.as_dict(private=False)]}
            case "/userinfo":
                return self.userinfo
            case _:  # the token endpoint
                self.may_answer.wait(20)
                now = int(time.time())
                claims = {
                    "iss": self.issuer,
                    "aud": CLIENT,
                    "sub": "ada",
                    "exp": now + 60,
                    "iat": now,
                    "nonce": NONCE,
                } | self.claims
                header = {"alg": "RS256", "kid": self.signed_with.kid}
                token = jwt.encode(header, claims, self.signed_with)
                return {"access_token": "a", "token_type": "Bearer", "id_token": token}


@asynccontextmanager
async def fake_provider() -> AsyncIterator[FakeProvider]:
    """Run a fake provider."""
    # The fake provider is created later, because its issuer contains the server's port.
    fakes: list[FakeProvider] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = fakes[0].answer(self.path)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fakes.append(FakeProvider(server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fakes[0]
    finally:
        fakes[0].may_answer.set()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
