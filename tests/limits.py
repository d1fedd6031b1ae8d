"""Limits for stacks under test."""

HIGH_LIMITS = {
    "RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_LOGIN_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_HEAVY_REQUESTS_PER_MINUTE": "1000000",
    "WEBSOCKET_MAX_CONNECTIONS_PER_IDENTITY": "1000",
    "WEBSOCKET_MAX_FRAMES_PER_SECOND": "100000",
    "WEBSOCKET_MAX_BYTES_PER_SECOND": "1000000000",
}
"""Settings for tests of other subjects than limits. Their traffic comes from one address and few accounts, and would
exceed the default limits.
"""
