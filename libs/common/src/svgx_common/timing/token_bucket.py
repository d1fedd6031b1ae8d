"""A token bucket in memory. It does no I/O, and its methods get the time from the caller."""


class TokenBucket:
    """A token bucket that refills with `rate` tokens a second and holds at most `burst`. Times are in seconds.

    A bucket may owe tokens, because the size of a frame or reply is known only after the wait for the bucket.
    """

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated_at = now

    def take(self, tokens: float) -> None:
        """Take tokens. The bucket owes the tokens that it does not have.

        Call `seconds_until` with the present time first. Otherwise the next call of `seconds_until` also adds
        tokens for the time before this `take`, even for time in which the bucket was full.
        """
        self._tokens -= tokens

    def seconds_until(self, tokens: float, now: float) -> float:
        """Return the seconds until the bucket has this number of tokens, or 0."""
        available = self._tokens + (now - self._updated_at) * self._rate
        available = min(available, self._burst)
        self._tokens = available
        self._updated_at = now
        return 0.0 if available >= tokens else (tokens - available) / self._rate
