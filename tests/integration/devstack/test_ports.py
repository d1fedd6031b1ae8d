"""Ports are chosen once, also when several processes choose at the same time."""

import subprocess
import sys

from svgx_devstack import ports

CLAIM = "import sys; from svgx_devstack import ports; print(ports.claim(int(sys.argv[1])))"


def _claim_elsewhere(port: int) -> str:
    """Claim a port in another process, and return the printed result."""
    done = subprocess.run(
        [sys.executable, "-c", CLAIM, str(port)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_chosen_port_is_refused_to_another_process_before_a_server_listens() -> None:
    port = ports.choose()
    assert ports.is_free(port)
    assert _claim_elsewhere(port) == "False"


def test_port_of_an_ended_process_can_be_claimed_again() -> None:
    free = next(port for port in range(20_000, 32_000) if _claim_elsewhere(port) == "True")
    assert ports.claim(free)


def test_process_chooses_each_port_once() -> None:
    chosen = [ports.choose() for _ in range(500)]
    assert len(set(chosen)) == len(chosen)
