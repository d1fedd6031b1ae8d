"""Security headers of every response, after OWASP's HTTP Headers and REST Security cheat sheets."""

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    # The query of a WebSocket's URL may contain an access token, which must not reach other sites in `Referer`.
    (b"referrer-policy", b"no-referrer"),
    # Responses are data, not documents: nothing in them is run, framed or fetched. Pages set their own policy.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Responses are personal, and some contain tokens. The scripts and styles of `/docs` are not, and set their own.
    (b"cache-control", b"no-store"),
)
"""Names and values. A response that already has a header of the same name keeps that header."""
