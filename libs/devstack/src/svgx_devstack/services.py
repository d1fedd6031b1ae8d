"""The services and their environment variables."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from svgx_common.configuration import build
from svgx_common.configuration.process_environment import PROCESS_ENVIRONMENT
from svgx_devstack.backing import nats, postgres, probe, valkey
from svgx_devstack.home import Home
from svgx_devstack.ports import HOST
from svgx_devstack.program import Program

NAMES = ("gateway", "collab", "state", "auth")
"""The services, in the order in which they are stopped."""

ADMIN_USERNAME = "admin"
ADMIN_EMAIL = "admin@example.org"

_SERVICES_WITH_DATABASE = ("auth", "state")
_SERVICES_WITH_TOKENS = ("auth", "gateway")
_MANAGED_VARIABLES = (
    "API_HOST",
    "API_PORT",
    "NATS_URL",
    "NATS_NKEY_SEED",
    "POSTGRES_URL",
    "REDIS_URL",
    "JWT_SECRET",
    "SVGX_CONFIG",
    "SVGX_ADMIN_USERNAME",
    "SVGX_ADMIN_EMAIL",
    "SVGX_ADMIN_PASSWORD",
)
"""Variables that services do not inherit from the user's shell, because they may name another deployment.

The exception is `JWT_SECRET`: services that need the variable get the user's secret, or else the stack's.
"""


def program(home: Home, service: str, name: str, port: int, settings: Mapping[str, str]) -> Program:
    """Return the program of one replica of `service`, with a name and a port."""
    return Program(
        name=name,
        argv=(sys.executable, "-m", f"svgx_{service}"),
        env=environment(home, service, port, settings),
        log_path=home.logs / f"{name}.log",
        pid_path=home.pids / name,
        ready=lambda: probe.service(port),
    )


def environment(home: Home, service: str, port: int, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service.

    Later sources override earlier ones: defaults, the user's environment, the stack's addresses and secrets,
    `settings`.
    """
    env = {
        "ENVIRONMENT": "development",
        "LOG_LEVEL": "INFO",
        **PROCESS_ENVIRONMENT,
        build.VARIABLE: _revision(),
    }
    env |= {name: value for name, value in os.environ.items() if name not in _MANAGED_VARIABLES}
    env |= {
        "API_HOST": HOST,
        "API_PORT": str(port),
        "NATS_URL": nats.url(home, service),
        "REDIS_URL": valkey.url(home),
    }
    if service in _SERVICES_WITH_DATABASE:
        env["POSTGRES_URL"] = postgres.url(home)
    if service in _SERVICES_WITH_TOKENS:
        env["JWT_SECRET"] = os.environ.get("JWT_SECRET") or home.secret("jwt")
    if service == "auth":
        env |= {
            "SVGX_ADMIN_USERNAME": ADMIN_USERNAME,
            "SVGX_ADMIN_EMAIL": ADMIN_EMAIL,
            "SVGX_ADMIN_PASSWORD": home.secret("admin"),
        }
    if service == "state":
        env.setdefault("BACKUP_URL", f"file://{home.path / 'backups'}")
    return env | dict(settings)


@functools.cache
def _revision() -> str:
    """Return the Git commit from which the services run, or an empty text if Git does not report it."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""
