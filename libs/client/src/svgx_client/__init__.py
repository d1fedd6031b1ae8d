"""The Python client of SVGX Engine. `Client.call` calls any operation of the contract that has an HTTP form."""

from svgx_client.client import Client
from svgx_client.errors import ClientError, ConnectionFailed, UnexpectedAnswer

__all__ = ["Client", "ClientError", "ConnectionFailed", "UnexpectedAnswer"]
