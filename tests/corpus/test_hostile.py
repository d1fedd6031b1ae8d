"""Files made to attack: whichever way they come in, nothing comes out that runs or fetches. Proves R-SVG-3."""

import json
import re

import pytest

from svgx_canvas import SvgRefused, export_json, export_svg, import_svg, render_png
from tests.corpus.corpus import HOSTILE, files, needs_corpus
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import raw_document


def _payloads() -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in files(HOSTILE)}
    fixtures = HOSTILE / "dompurify.json"
    if fixtures.is_file():
        for index, fixture in enumerate(json.loads(fixtures.read_text(encoding="utf-8"))):
            found[f"dompurify {index}"] = fixture["payload"].encode()
    return found


def _variants(payload: bytes) -> list[bytes]:
    """The payload as a file, and what HTML would make of it: SVG with its namespaces, alone or inside of a file."""
    text = payload.decode()
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    parts = re.findall(r"<svg\b.*?</svg>", text, re.DOTALL | re.IGNORECASE)
    named = [re.sub(r"^<svg", head, part, count=1, flags=re.IGNORECASE) for part in parts]
    return [payload, *(part.encode() for part in named), f"{head}>{text}</svg>".encode()]


_PAYLOADS = _payloads()


@needs_corpus
@pytest.mark.parametrize("name", _PAYLOADS)
def test_imported(name: str) -> None:
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
            assert refused.code == "unrenderable"  # noqa: PT017 - it may also be drawn


@needs_corpus
@pytest.mark.parametrize("name", _PAYLOADS)
def test_written_straight_into_the_document(name: str) -> None:
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
def test_the_corpus_is_worth_its_name() -> None:
    """That the audit sees what the policy has to remove: most of these files fail it as they are."""
    failing = 0
    for payload in _PAYLOADS.values():
        for variant in _variants(payload):
            try:
                failing += bool(problems(variant))
            except (ValueError, SyntaxError):
                continue
    assert failing >= 50
    assert len(_PAYLOADS) >= 250
