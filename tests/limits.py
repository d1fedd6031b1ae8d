"""Settings of stacks whose tests are about something else: their traffic comes from one address and few accounts."""

ROOMY = {
    "RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_LOGIN_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_HEAVY_REQUESTS_PER_MINUTE": "1000000",
    "WEBSOCKET_MAX_CONNECTIONS_PER_IDENTITY": "1000",
    "WEBSOCKET_MAX_FRAMES_PER_SECOND": "100000",
    "WEBSOCKET_MAX_BYTES_PER_SECOND": "1000000000",
}
