"""The folder of one stack: data, logs, secrets and ports."""

import fcntl
import json
import os
import secrets
import unicodedata
from pathlib import Path

from svgx_devstack import ports
from svgx_devstack.errors import StackError

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, surrogates (bytes that are not UTF-8) and line breaks."""


class Home:
    """The folder of one stack. Only one supervisor, the process that runs `DevStack`, uses the folder at a time.

    The supervisor locks the folder. The system releases the lock when the supervisor ends, even after SIGKILL.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock_fd: int | None = None
        self._secrets: dict[str, str] = {}
        self._ports: dict[str, int] = {}
        self._reserved: set[int] = set()

    def open(self) -> None:
        """Create the folder, lock it, and read the stored secrets and ports.

        Raises `StackError` when the folder cannot be written, another stack uses it or `stack.json` is damaged, and
        for a path with control characters, because a message with the path would not be one line of text.
        """
        if any(unicodedata.category(letter) in _UNPRINTABLE for letter in str(self.path)):
            raise StackError(
                f"SVGX_HOME is {str(self.path)!a}: "
                "set it to a folder without control characters and with a name in UTF-8"
            )
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock()
            self.logs.mkdir(exist_ok=True)
            self.pids.mkdir(exist_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._read()

    def close(self) -> None:
        """Release the lock, so that another stack can use the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.path / "logs"

    @property
    def pids(self) -> Path:
        """The folder of the processes' ids (see `orphans`)."""
        return self.path / "pids"

    def secret(self, name: str) -> str:
        """Return a random secret of 32 hexadecimal digits, the same at every start."""
        if name not in self._secrets:
            self._secrets[name] = secrets.token_hex(16)
            self._write()
        return self._secrets[name]

    def port(self, name: str) -> int:
        """Return a free loopback port: the same one at every start, or a new one when another program has taken it."""
        port = self._ports.get(name)
        if port is None or port in self._reserved or not ports.claim(port):
            port = ports.choose(excluded={*self._ports.values(), *self._reserved})
            self._ports[name] = port
            self._write()
        return port

    def reserve(self, port: int) -> None:
        """Keep this port for the gateway, so that `port` never returns it."""
        self._reserved.add(port)

    def port_in_use(self, name: str) -> int:
        """Return the port of a running server: the last result of `port(name)`, without testing that it is free."""
        return self._ports[name]

    def write_private(self, name: str, text: str) -> Path:
        """Write a file that only its owner may read. An older file is replaced atomically.

        Raises `StackError` when the file cannot be written.
        """
        path = self.path / name
        draft = path.with_name(path.name + ".new")
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(text)
            draft.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    def _lock(self) -> None:
        """Lock the folder, and write the id of this process into the lock file for error messages.

        Raises `StackError` when another stack has the lock.
        """
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StackError(
                f"{self.path} is in use by another running stack (process {owner}): "
                "stop that stack, or set SVGX_HOME to another folder"
            ) from error
        os.truncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def _read(self) -> None:
        path = self.path / "stack.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            self._secrets = {str(name): str(value) for name, value in stored["secrets"].items()}
            self._ports = {str(name): int(value) for name, value in stored["ports"].items()}
        except FileNotFoundError:
            return
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise StackError(
                f"{path} is damaged: restore it, or start with another SVGX_HOME (the file holds the passwords)"
            ) from error

    def _write(self) -> None:
        stored = {"secrets": self._secrets, "ports": self._ports}
        self.write_private("stack.json", json.dumps(stored, indent=2) + "\n")


def _unwritable(path: Path, error: OSError) -> StackError:
    """Return the error of a folder or a file that cannot be written, with the system's reason."""
    reason = (error.strerror or str(error)).lower()
    return StackError(
        f"cannot write to {path} ({reason}): set SVGX_HOME to a folder you can write to"
    )
