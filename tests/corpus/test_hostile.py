"""The export of an attack file runs no code and fetches nothing. Proves R-SVG-3.

The file was imported, or a client wrote its content into a document.
"""

import base64
import json
import re

import pytest

from svgx_canvas import SvgRefused, export_json, export_svg, import_svg, render_png
from tests.corpus.corpus import HOSTILE, files, needs_corpus
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import document, raw_document


def _payloads() -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in files(HOSTILE)}
    fixtures = HOSTILE / "dompurify.json"
    if fixtures.is_file():
        for index, fixture in enumerate(json.loads(fixtures.read_text(encoding="utf-8"))):
            found[f"dompurify {index}"] = fixture["payload"].encode()
    return found


def _variants(payload: bytes) -> list[bytes]:
    """Return the payload itself, each of its svg elements with namespaces, and the payload inside an svg element.

    HTML needs no namespace declarations in an svg element, but an SVG file needs them.
    """
    text = payload.decode()
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    parts = re.findall(r"<svg\b.*?</svg>", text, re.DOTALL | re.IGNORECASE)
    with_namespaces = [re.sub(r"^<svg", head, part, count=1, flags=re.IGNORECASE) for part in parts]
    return [payload, *(part.encode() for part in with_namespaces), f"{head}>{text}</svg>".encode()]


_PAYLOADS = _payloads()


@needs_corpus
@pytest.mark.parametrize("name", _PAYLOADS)
def test_hostile_file_is_clean_after_import(name: str) -> None:
    for variant in _variants(_PAYLOADS[name]):
        try:
            state = import_svg(variant, None).update
        except SvgRefused:
            continue
        exported = export_svg(state)
        assert problems(exported) == []
        json.loads(export_json(state))
        try:
            render_png(exported, 50, 50)
        except SvgRefused as refused:
            assert refused.code == "unrenderable"  # noqa: PT017 - rendering may also succeed


@needs_corpus
@pytest.mark.parametrize("name", _PAYLOADS)
def test_hostile_document_is_clean_after_export(name: str) -> None:
    for variant in _variants(_PAYLOADS[name]):
        state = raw_document(variant)
        if state is None:
            continue
        try:
            exported = export_svg(state)
        except SvgRefused as refused:
            assert refused.code == "too_large"  # noqa: PT017 - most are small enough
            continue
        assert problems(exported) == []
        json.loads(export_json(state))


@needs_corpus
@pytest.mark.parametrize("name", _PAYLOADS)
def test_hostile_picture_is_clean_after_import_and_export(name: str) -> None:
    """An attack file in the `href` of an `image` is cleaned, in an imported file and in a client's document."""
    for variant in _variants(_PAYLOADS[name]):
        href = f"data:image/svg+xml;base64,{base64.b64encode(variant).decode()}"
        file = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{href}"/></svg>'.encode()
        client = document({"a": {"tag": "image", "attrs": {"href": href}}})
        for state in (import_svg(file, None).update, client):
            assert problems(export_svg(state)) == []


@needs_corpus
def test_audit_finds_problems_in_the_raw_corpus() -> None:
    """The audit finds problems in uncleaned files, so the tests above would find them in cleaned files too."""
    failing = 0
    for payload in _PAYLOADS.values():
        for variant in _variants(payload):
            try:
                failing += bool(problems(variant))
            except (ValueError, SyntaxError):
                continue
    assert failing >= 50
    assert len(_PAYLOADS) >= 250
