"""The number of requests that a rate limit admits while a test runs."""

import time


def most_admitted(limit: int, began: float) -> int:
    """Return how many requests a bucket of `limit` requests a minute can have admitted since `began`.

    The bucket is full at `began`, a time of `time.monotonic`. It refills meanwhile, so a slow test may send more.
    """
    return limit + 2 + int((time.monotonic() - began) * limit / 60)
