"""The stored content of a version that the journal does not have any more."""

from svgx_common.contract.state import Content
from svgx_common.messaging.wire import decode, encode
from svgx_yjs.record import record


@record
class _KeptContent:
    """The stored fields of a version's content. An outline is not stored, because such versions are rarely read."""

    revision: int
    updates: tuple[bytes, ...]


def encode_content(content: Content) -> bytes:
    """Return the content of a version for the table `version_content`."""
    return encode(_KeptContent(content.revision, content.updates))


def decode_content(data: bytes) -> Content:
    """Return the content that `encode_content` wrote."""
    kept = decode(_KeptContent, data)
    return Content(kept.revision, kept.updates)
