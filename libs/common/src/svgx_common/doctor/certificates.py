"""Checks of the expiry dates of server and client certificates."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from svgx_common.doctor.findings import Finding, failed, ok, warning

SOON_DAYS = 21
"""A check warns of a certificate that expires in fewer days. Issuers usually renew a month before the expiry."""


def check_peer(name: str, ssl_object: Any) -> list[Finding]:
    """Check the server's certificate of a TLS connection. Without TLS, return an empty list."""
    if not isinstance(ssl_object, ssl.SSLObject | ssl.SSLSocket):
        return []
    content = ssl_object.getpeercert(binary_form=True)
    if content is None:
        return []
    return [_check_expiry(f"{name} certificate", x509.load_der_x509_certificate(content))]


def check_file(name: str, path: str) -> Finding:
    """Check a file of certificates in PEM form. The result is about the certificate that expires first."""
    check = f"{name} certificate file"
    try:
        certificates = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError):
        return failed(check, f"{path} cannot be read", "Mount a readable file of PEM certificates.")
    return _check_expiry(check, min(certificates, key=lambda each: each.not_valid_after_utc))


def verification_failed(name: str, error: ssl.SSLError) -> Finding:
    """Return the result for a server with a certificate that was not accepted."""
    reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
    return failed(
        f"{name} certificate",
        f"TLS is refused: {reason}",
        "Renew the certificate, use a host name that it contains, or give the service the right certificate authority.",
    )


def _check_expiry(check: str, certificate: x509.Certificate) -> Finding:
    end = certificate.not_valid_after_utc
    days = (end - datetime.now(UTC)).days
    fix = "Renew the certificate, and reload or restart the server or service that uses it."
    if days < 0:
        return failed(check, f"expired on {end:%Y-%m-%d}", fix)
    if days < SOON_DAYS:
        return warning(check, f"expires on {end:%Y-%m-%d}, in {days} days", fix)
    return ok(check, f"valid until {end:%Y-%m-%d}")
