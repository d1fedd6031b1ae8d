"""Failures of pycrdt."""

import hashlib
from types import TracebackType


class Fault(Exception):
    """A failure of pycrdt on a well-formed update. The document must not be used afterwards."""

    update_digest: bytes | None = None
    """The digest of the update that pycrdt failed on: the edit itself, or a pending update that the edit released.

    None if pycrdt failed on several updates together. A document with `one_by_one` then finds the faulty update.
    """


def update_digest(update: bytes) -> bytes:
    """Return the digest by which a faulty update is recognized."""
    return hashlib.sha256(update).digest()


class _PycrdtFaults:
    """A context manager that raises the exceptions of pycrdt as `Fault`.

    It is a class, because a context manager made of a generator is slower, and each edit enters this one.
    """

    def __enter__(self) -> None:
        """Begin the context. It has no state."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Raise an exception of pycrdt as `Fault`."""
        if kind is None:
            return
        # pyo3 raises PanicException when Rust code panics. The class cannot be imported.
        if issubclass(kind, ValueError | RuntimeError) or kind.__name__ == "PanicException":
            raise Fault from error


PYCRDT_FAULTS = _PycrdtFaults()
