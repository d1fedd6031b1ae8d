"""The translation of errors of worker processes into errors of the contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import (
    Invalid,
    Overloaded,
    SvgxError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from svgx_workers.errors import AccountBusy, WorkerDied, WorkerError, WorkersBusy, WorkerTimeout
from svgx_workers.pool import Workers

log = structlog.get_logger(__name__)

WORKER_WAIT_SECONDS = 20.0
"""Time limit, in seconds, for the wait of an export, a picture, a comparison or a restore for a worker.

Beyond it, the request fails with `TooManyRequests` or `Overloaded`. After this wait, an export still has more than half
of the time limit of the operation `EXPORT` (60 s).

`WORKER_TIMEOUT_SECONDS` may be larger than the time limit of `EXPORT`, because a compaction may need more time and has
no deadline. A job of an operation always ends before the operation's deadline.
"""

RETRY_AFTER_SECONDS = 2.0
"""Seconds after which a caller may try again, when too many exports wait."""

_REQUEST_FIELDS = ("width", "height", "scale")
"""Fields of an export request that can be over a limit."""


@contextmanager
def worker_errors(
    workers: Workers, canvas_id: str, jobs: Literal["exports", "comparisons", "restores"]
) -> Iterator[None]:
    """Translate errors of the workers into errors of the contract.

    For a job that ended its worker, raise `TooLarge`, so that callers do not repeat the request.
    """
    job = jobs.removesuffix("s")
    try:
        yield
    except SvgRefused as refusal:
        raise refusal_error(refusal) from None
    except AccountBusy:
        limit = workers.turns_per_account
        raise TooManyRequests(
            f"at most {limit} exports of one account run or wait at a time, comparisons and restores included, and "
            f"each waits {WORKER_WAIT_SECONDS:g} s at most; try again when the others have ended",
            limit=limit,
            retry_after=RETRY_AFTER_SECONDS,
        ) from None
    except WorkersBusy:
        raise Overloaded(f"too many {jobs} are waiting", retry_after=RETRY_AFTER_SECONDS) from None
    except WorkerTimeout as error:
        log.warning("a job took too long", job=job, canvas_id=canvas_id)
        raise Invalid(
            f"the {job} of this content takes too long; make the content simpler or the picture smaller",
            field="content",
            limit=f"{error.seconds:g} s",
        ) from None
    except WorkerDied as error:
        # The content is the cause, so the error does not count as a failure of the service.
        log.warning("a job ended its worker", job=job, canvas_id=canvas_id, error=str(error))
        raise TooLarge(
            f"the {job} could not be finished, usually because memory ran out; "
            "a smaller picture or simpler content may help",
            field="content",
            limit=workers.memory_bytes or None,
        ) from None
    except WorkerError as error:
        log.warning("no worker is available", canvas_id=canvas_id, error=str(error))
        raise Unavailable(f"{jobs} are not available at present; try again") from None


def refusal_error(refusal: SvgRefused) -> SvgxError:
    """Return the contract's error for a refusal of the canvas library.

    Content over a limit is `TooLarge`. All other refusals, such as a requested size over its limit, are `Invalid`.
    """
    over_limit = refusal.code == "too_large" and refusal.field not in _REQUEST_FIELDS
    kind = TooLarge if over_limit else Invalid
    return kind(refusal.detail, field=refusal.field, limit=refusal.limit)
