"""One OpenAPI document for all gateways of a test process, and long time limits, because the machine may be busy."""

import gzip
from collections.abc import Iterator
from functools import cache

import pytest

from svgx_common.messaging import repetition
from svgx_gateway.openapi import document as openapi
from svgx_gateway.ratelimit import buckets

_document, _compress = cache(openapi.document), cache(gzip.compress)


@pytest.fixture(scope="module", autouse=True)
def one_document() -> Iterator[None]:
    """Let all gateways share the document and the compressed pages of the documentation.

    Without this fixture, each gateway makes both at its start, which takes 150 ms of processor time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openapi, "document", _document)
        patch.setattr(gzip, "compress", _compress)
        yield


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gateways wait long for Redis and for services.

    Otherwise a gateway would count a request by itself, or send a read again, and the tests count both.
    """
    monkeypatch.setattr(buckets, "REDIS_TIMEOUT", 5.0)
    monkeypatch.setattr(repetition, "MIN_INTERVAL_SECONDS", 60.0)
