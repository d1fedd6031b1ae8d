"""The health check of the container images."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from svgx_common.http.probe import answers


class Answer(BaseHTTPRequestHandler):
    """A handler that answers both health pages with the status that the test sets."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path in ("/health/live", "/health/ready") else 404)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


@pytest.fixture
def port() -> Iterator[str]:
    """Serve answers on every interface, and return the port."""
    with HTTPServer(("0.0.0.0", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1", " localhost ", "127.0.0.2"])
@pytest.mark.parametrize(("status", "alive"), [(200, True), (503, False)])
def test_probe_asks_the_service_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, port: str, host: str, status: int, alive: bool
) -> None:
    """The container is healthy while the process answers with 200. The probe uses no proxy. Proves R-SHIP-1."""
    monkeypatch.setattr(Answer, "status", status)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for page in ("live", "ready"):
        assert answers(page, {"API_HOST": host, "API_PORT": port}) is alive


def test_probe_of_a_service_that_does_not_listen_fails() -> None:
    """A refused connection makes the probe fail, without an exception. Proves R-SHIP-1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not answers("live", {"API_PORT": str(port)})
