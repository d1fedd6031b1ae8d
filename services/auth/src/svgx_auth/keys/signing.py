"""What signs access tokens at the moment: a key of the file, or the secret."""

import asyncio
import time
from pathlib import Path
from typing import Any

import structlog

from svgx_auth.keys import key_file
from svgx_auth.keys.key_file import KeyRing
from svgx_common.tokens.signing_keys import TokenKey, secret_key

log = structlog.get_logger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at the file."""


class Signing:
    """The secret until a key of the file has begun, then the key that began last. The file may change at any time."""

    def __init__(self, secret: str, path: Path | None) -> None:
        self._secret = secret_key(secret)
        self._path = path
        self._ring = KeyRing() if path is None else key_file.read(path)
        self._said = ""

    def key(self) -> TokenKey:
        """The key for a token of now."""
        return self._ring.signing(time.time()) or self._secret

    def public(self) -> list[dict[str, Any]]:
        """The public keys of the file, also of those that have not begun."""
        return [entry.public() for entry in self._ring.entries]

    async def reload(self) -> None:
        """Read the file again, and wait a while. One that is broken changes nothing."""
        if self._path is not None:
            try:
                self._ring = await asyncio.to_thread(key_file.read, self._path)
                self._said = ""
            except ValueError as error:
                if self._said != str(error):
                    log.error("JWT_KEYS_FILE: the keys from before are used on", error=str(error))
                self._said = str(error)
        await asyncio.sleep(LOOK_EVERY)
