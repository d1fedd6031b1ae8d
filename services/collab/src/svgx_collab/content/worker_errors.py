"""The errors of worker processes as errors of the contract, for imports, restores and changes of elements."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import (
    Conflict,
    Invalid,
    NotFound,
    Overloaded,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMedia,
)
from svgx_workers.errors import AccountBusy, WorkerDied, WorkerError, WorkersBusy, WorkerTimeout
from svgx_workers.pool import Workers

RETRY_SECONDS = 2.0
"""Seconds until a caller may try again, while too many imports, restores and changes of elements run or wait."""


@dataclass(frozen=True, slots=True)
class ErrorTexts:
    """The texts of the errors of imports, of restores, or of changes of elements.

    - `field` is the name of the request's field that contains the content. If `field` is None, refusals name their own
      field, and errors about time or memory name `body`.
    - `account_limit` completes the sentence "at most 9 ..." for an account with too many requests. The number includes
      the waiting requests.
    - In `too_much`, `{}` stands for "time" or "memory".
    """

    name: str
    field: str | None
    account_limit: str
    too_much: str


@contextmanager
def worker_errors(workers: Workers, texts: ErrorTexts) -> Iterator[None]:
    """Translate errors of the workers into errors of the contract."""
    try:
        yield
    except SvgRefused as refused:
        if refused.field == "charset":
            raise UnsupportedMedia(refused.detail, field="content-type") from None
        if refused.code == "unknown":
            raise NotFound(refused.detail, field=refused.field) from None
        if refused.code == "conflict":
            raise Conflict(refused.detail, field=refused.field) from None
        raise Invalid(
            refused.detail, field=texts.field or refused.field, limit=refused.limit
        ) from None
    except AccountBusy:
        limit = workers.turns_per_account
        raise TooManyRequests(
            f"at most {limit} {texts.account_limit}; try again when the others have ended",
            limit=limit,
            retry_after=RETRY_SECONDS,
        ) from None
    except WorkersBusy:
        raise Overloaded(
            "too many imports, restores and changes of elements are waiting",
            retry_after=RETRY_SECONDS,
        ) from None
    except WorkerTimeout as error:
        raise TooLarge(
            texts.too_much.format("time"),
            field=texts.field or "body",
            limit=f"{error.seconds:g} s",
        ) from None
    except WorkerDied:
        raise TooLarge(
            texts.too_much.format("memory"),
            field=texts.field or "body",
            limit=workers.memory_bytes or None,
        ) from None
    except WorkerError:
        # The service is stopping, or no process can be started. The content is not the cause.
        raise Unavailable(f"{texts.name} are not available at present; try again") from None
