"""`make run` installs no tools for development. The other commands install them."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BOOTSTRAP = Path(__file__).parents[3] / "bootstrap.py"


def load_script() -> Any:
    """Return `bootstrap.py` as a new module."""
    spec = importlib.util.spec_from_file_location("bootstrap", BOOTSTRAP)
    assert spec is not None
    assert spec.loader is not None
    script = ModuleType("bootstrap")
    spec.loader.exec_module(script)
    return script


class Installation:
    """`bootstrap.py` in a repository of its own. The commands that it would start are recorded in `started`."""

    def __init__(self, root: Path) -> None:
        self.script = load_script()
        for name in ("requirements.lock", "libs/devstack/requirements.lock"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a==1\n")
        python = root / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch()
        self.script.ROOT, self.script.PYTHON = root, python
        self.script.LOG = root / ".venv" / "install.log"
        self.script.venv_works = lambda: True
        self.root = root
        self.installed: list[str] = []
        self.started: list[tuple[str, list[str]]] = []
        self.script.replace_process = lambda program, arguments: self.started.append(
            (program, arguments)
        )

    def record_locks(self) -> None:
        """Record the lock files in `installed` instead of installing their packages."""
        self.script.install_packages = lambda lock: self.installed.append(
            str(lock.relative_to(self.root))
        )


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Return the script in a repository that has lock files and no packages."""
    return Installation(tmp_path)


def test_run_installs_the_packages_of_the_stack_once(installation: Installation) -> None:
    installation.record_locks()
    for _ in range(2):
        installation.script.main(["run"])
    assert installation.installed == ["libs/devstack/requirements.lock"]
    assert installation.started == [("python", ["-m", "svgx_devstack"])] * 2


def test_tools_are_installed_once_and_run_needs_no_further_installation(
    installation: Installation,
) -> None:
    installation.record_locks()
    for action in (["run"], ["exec", "pytest", "-q"], ["exec", "mypy"], ["run"], ["install"]):
        installation.script.main(action)
    assert installation.installed == ["libs/devstack/requirements.lock", "requirements.lock"]
    assert installation.started[1] == ("pytest", ["-q"])


def test_changed_lock_is_installed_again(installation: Installation) -> None:
    installation.record_locks()
    installation.script.main(["run"])
    (installation.root / "libs/devstack/requirements.lock").write_text("a==2\n")
    installation.script.main(["run"])
    assert installation.installed == ["libs/devstack/requirements.lock"] * 2


@pytest.mark.parametrize(("uv_status", "installers"), [(0, ["pip", "uv", "uv"]), (1, ["pip"] * 3)])
def test_uv_installs_unless_uv_itself_cannot_be_installed(
    installation: Installation, uv_status: int, installers: list[str]
) -> None:
    """`uv_status` is the exit status of the installation of uv. Only our own packages are installed without hashes."""
    commands: list[list[str]] = []

    def run(command: list[str], environment: dict[str, str] | None = None) -> int:
        commands.append(command)
        return uv_status if len(commands) == 1 else 0

    installation.script.run_installer = run
    installation.script.compile_services = lambda: None
    installation.script.install_packages(installation.root / "requirements.lock")
    used = ["uv" if command[0].endswith("uv") else "pip" for command in commands]
    assert used == installers
    assert all("--require-hashes" in command for command in commands[:2])
    assert {"--no-deps", "--no-index"} <= set(commands[2])


def test_pip_follows_a_failed_uv_and_a_failed_pip_ends_the_installation(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    used: list[str] = []

    def run(command: list[str], environment: dict[str, str] | None = None) -> int:
        used.append("uv" if command[0].endswith("uv") else "pip")
        return 0 if len(used) == 1 else 1

    installation.script.run_installer = run
    with pytest.raises(SystemExit) as ended:
        installation.script.install_packages(installation.root / "requirements.lock")
    assert ended.value.code == 2
    assert used == ["pip", "uv", "pip"]
    assert "the installation failed: see" in capfd.readouterr().err


def test_uv_uses_the_package_index_of_pip(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []

    def run(command: list[str], environment: dict[str, str]) -> int:
        environments.append(environment)
        return 0

    installation.script.run_installer = run
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.setenv("UV_FIND_LINKS", "/other")
    assert installation.script.run_uv(["a"]) == 0
    assert environments[0]["UV_DEFAULT_INDEX"] == "https://packages.example/simple"
    assert environments[0]["UV_FIND_LINKS"] == "/other"


def test_programs_store_bytecode_on_machines_that_switch_it_off(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without stored bytecode, each start of a service would compile all its modules."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in installation.script.python_environment()


def test_environment_with_a_python_that_hangs_does_not_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`bootstrap.py` then creates the environment again, as it does if the environment has no Python."""

    def hang(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    script = load_script()
    script.PYTHON = Path("python")
    monkeypatch.setattr(subprocess, "run", hang)
    assert not script.venv_works()


def test_errors_of_an_installer_are_printed_and_logged(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["sh", "-c", "echo collecting; echo no such package >&2; exit 3"]
    assert installation.script.run_installer(command) == 3
    assert "no such package" in capfd.readouterr().err
    assert installation.script.LOG.read_text() == "collecting\nno such package\n"
