"""Settings of the gateway."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import NoDecode

from svgx_common.settings import TokenSettings


class GatewaySettings(TokenSettings):
    """Environment variables, with their defaults."""

    jwt_secret: SecretStr = SecretStr("")
    """Checks tokens that auth signs with it. Better not here once auth signs with keys (JWT_KEYS_FILE)."""
    cors_origins: Annotated[str, NoDecode] = "*"
    """Origins that may call from a browser, separated by commas; `*` is any, without credentials."""
    websocket_max_frame_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    websocket_ping_interval: float = Field(30.0, gt=0)
    websocket_ping_timeout: float = Field(10.0, gt=0)
    websocket_drain_seconds: float = Field(2.0, ge=0, le=600)
    """A stopping gateway closes its sockets spread over this time."""
