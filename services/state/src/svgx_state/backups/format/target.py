"""The target of the backups: a folder or a bucket, which a URL names."""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import (
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

RETRIES = 20
"""Largest number of further attempts at a request that an object storage did not answer, or answered with 5xx or 429.

The pauses between the attempts are random and grow, from 0.1 s to 15 s.
"""

RETRY_TIME_LIMIT = timedelta(seconds=10)
"""Time from the first attempt at a request after which no further pause begins.

The request then fails, and a task that made it, such as a backup, begins its next attempt.
"""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status code: (\d{3}[A-Za-z ]*)")

_UNANSWERED = "the target does not answer"
_TEMPORARY_STATUS = re.compile(r"status code: (408|429|500|502|503|504)\b")

_WRONG_SETTINGS = (
    "the request fails: check the URL of the target and the target's environment variables"
)
_REASONS = {
    "InvalidCertificate(": "the certificate of the target is not trusted here, or is not valid",
    "kind: InvalidData": "the TLS connection to the target fails",
    "kind: Builder": _WRONG_SETTINGS,
    "HttpError {": _UNANSWERED,
}
"""Parts of the library's error texts, each with the reason to report. The first entry that matches a text decides.

Errors without any of these parts occur before a connection. Their reason is `_WRONG_SETTINGS`.
"""

_PANIC_CLASS = "RustPanic"
"""The name of the library's error for a request that panics. The library does not export the class."""

_BACKUP_ID = re.compile(r"[A-Za-z0-9_-]+")

_UNFINISHED = re.compile(r"#\d+\Z")
"""Matches the names of the files that the library writes. It renames a file to its object's name at the end.

A killed process leaves such a file behind, and the library neither lists nor deletes it.
"""


class TargetFailed(Exception):
    """The target did not carry out a request. The message names the object and the reason, and has no secret."""


class TargetUnavailable(TargetFailed):
    """The target does not answer, or is overloaded. The same request may succeed later."""

    def __init__(self, problem: str, reason: str) -> None:
        """Create the error. `problem` names the request, and is the same each time that the request fails."""
        super().__init__(f"{problem}: {reason}")
        self.problem = problem


class ObjectMissing(TargetFailed):
    """The target does not have an object."""


class Target:
    """The objects at a URL. Readers see an object only when all of it is stored."""

    def __init__(self, store: ObjectStore, folder: Path | None) -> None:
        """Create the target. `folder` is the folder of a `file://` target. Its files are synchronised to the disk."""
        self._store = store
        self._folder = folder

    @classmethod
    def open(cls, url: str) -> "Target":
        """Return the target at a URL. Raise `ValueError` for a URL that cannot be used.

        Object storages read their credentials from the environment.
        """
        scheme = url.partition("://")[0]
        try:
            if scheme == "memory":
                return cls(MemoryStore(), None)
            if scheme == "file":
                folder = Path(url.removeprefix("file://"))
                return cls(LocalStore(folder, mkdir=True), folder)
            store = from_url(
                url, retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIME_LIMIT}
            )
        except (BaseError, OSError) as error:
            raise ValueError(f"cannot be used: {_reason(error)}") from None
        return cls(store, None)

    async def put(self, name: str, content: bytes) -> None:
        """Store an object. Replace an object of the same name. Raise `TargetFailed`."""
        with _target_errors(f"cannot write {name}"):
            await obstore.put_async(self._store, name, content, use_multipart=False)
            if self._folder is not None:
                await asyncio.to_thread(_synchronise, self._folder / name)

    async def get(self, name: str) -> bytes:
        """Return an object. Raise `ObjectMissing`, or `TargetFailed`."""
        with _target_errors(f"cannot read {name}"):
            try:
                result = await obstore.get_async(self._store, name)
                return bytes(await result.bytes_async())
            except FileNotFoundError:
                raise ObjectMissing(f"{name} is missing") from None

    async def folders(self) -> list[str]:
        """Return the names of the folders at the top, each of which may be a backup. Raise `TargetFailed`."""
        with _target_errors("cannot list the backups"):
            try:
                if self._folder is not None:
                    return await asyncio.to_thread(_folders_in, self._folder)
                listing = await obstore.list_with_delimiter_async(self._store)
            except FileNotFoundError:
                return []
        return sorted(listing["common_prefixes"])

    async def names(self, folder: str) -> list[str]:
        """Return the names of all objects in a folder. Raise `TargetFailed`."""
        names: list[str] = []
        with _target_errors(f"cannot list {folder}"):
            try:
                async for page in obstore.list(self._store, folder):
                    names += [each["path"] for each in page]
            except FileNotFoundError:
                return []
        return names

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects. Ignore objects that do not exist. Raise `TargetFailed`."""
        for name in names:
            with _target_errors(f"cannot delete {name}"), contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, name)

    async def remove_folder(self, folder: str) -> None:
        """Remove a folder of a `file://` target, unless it has objects. Other targets have no folders."""
        if self._folder is not None:
            await asyncio.to_thread(_remove_without_objects, self._folder / folder)


@contextlib.contextmanager
def _target_errors(problem: str) -> Iterator[None]:
    """Turn errors of the library and of the operating system into `TargetFailed`, with the problem and a reason.

    After an error that may be temporary, raise `TargetUnavailable`.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        reason = _reason(error)
        is_temporary = reason == _UNANSWERED or _TEMPORARY_STATUS.search(str(error)) is not None
        if is_temporary:
            raise TargetUnavailable(problem, reason) from None
        raise TargetFailed(f"{problem}: {reason}") from None
    except Exception as error:
        if type(error).__name__ != _PANIC_CLASS:
            raise
        raise TargetFailed(f"{problem}: {_WRONG_SETTINGS}") from None


def _folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder.

    Omit names with other characters than those of backup ids, because the library does not read all of them.
    """
    return sorted(
        each.name for each in folder.iterdir() if _BACKUP_ID.fullmatch(each.name) and each.is_dir()
    )


def _synchronise(path: Path) -> None:
    """Write a file and its entry in the folder to the disk."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_without_objects(folder: Path) -> None:
    try:
        for path in folder.iterdir():
            if _UNFINISHED.search(path.name):
                path.unlink()
        folder.rmdir()
    except OSError:
        pass  # the folder has an object, or another replica has removed it


def _reason(error: Exception) -> str:
    """Return a short reason for an error, because the library's own text may be long and may name internal hosts."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "the target refuses the credentials, or they lack a permission"
    if isinstance(error, NotSupportedError):
        return "the target does not support this request"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    text = str(error)
    if match := _OS_ERROR.search(text):
        return os.strerror(int(match[1]))
    if match := _STATUS.search(text):
        return f"the target answers {match[1].strip()}"
    return next((reason for part, reason in _REASONS.items() if part in text), _WRONG_SETTINGS)
