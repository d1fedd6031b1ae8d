"""The choice of the key that signs access tokens: a key of `JWT_KEYS_FILE`, or the server's secret."""

import asyncio
import time
from pathlib import Path
from typing import Any

import structlog

from svgx_auth.keys import key_file
from svgx_auth.keys.key_file import KeyRing
from svgx_common.tokens.signing_keys import TokenKey, secret_key

log = structlog.get_logger(__name__)

RELOAD_INTERVAL_SECONDS = 5.0
"""Seconds between two reads of `JWT_KEYS_FILE`."""


class Signing:
    """The source of the key that signs access tokens.

    The server's secret signs until the first key of the file begins to sign. From then on, tokens are signed with the
    key that began to sign last. The file may change at any time. Without a `path`, the secret always signs.
    """

    def __init__(self, secret: str, path: Path | None) -> None:
        self._secret = secret_key(secret)
        self._path = path
        self._ring = KeyRing() if path is None else key_file.read(path)
        self._logged_error = ""

    def key(self) -> TokenKey:
        """Return the key that signs now."""
        return self._ring.signing(time.time()) or self._secret

    def public(self) -> list[dict[str, Any]]:
        """Return the public keys of the file, including keys that do not sign yet."""
        return [entry.public() for entry in self._ring.entries]

    async def reload(self) -> None:
        """Read the file again, then sleep `RELOAD_INTERVAL_SECONDS`. After an error, the previous keys stay in use."""
        if self._path is not None:
            try:
                self._ring = await asyncio.to_thread(key_file.read, self._path)
                self._logged_error = ""
            except ValueError as error:
                # Log each error once, because the file is read every few seconds.
                if self._logged_error != str(error):
                    log.error(
                        "cannot read JWT_KEYS_FILE; the previous keys stay in use",
                        error=str(error),
                    )
                self._logged_error = str(error)
        await asyncio.sleep(RELOAD_INTERVAL_SECONDS)
