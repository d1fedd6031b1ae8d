"""The number of requests that a rate limit admits while a test runs."""

import time


def most_admitted(limit: int, began: float) -> int:
    """Return the most requests that a bucket of `limit` requests a minute can have admitted since `began`.

    `began` is the time of `time.monotonic` at which the bucket was full. The bucket refills during a slow test.
    """
    return limit + 2 + int((time.monotonic() - began) * limit / 60)
