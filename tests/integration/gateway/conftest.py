"""One OpenAPI document for all gateways of a test process."""

import gzip
from collections.abc import Iterator
from functools import cache

import pytest

from svgx_gateway.openapi import document as openapi

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
