"""Settings of stacks whose tests are about something else: their traffic comes from one address and few accounts."""

ROOMY = {
    "RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_LOGIN_REQUESTS_PER_MINUTE": "1000000",
    "RATE_LIMIT_HEAVY_REQUESTS_PER_MINUTE": "1000000",
}
