"""The message queue of one document of a Hocuspocus client."""

import asyncio

from svgx_common.contract.close_codes import Close
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.hocuspocus.document import MAX_QUEUED, Document
from svgx_yjs.hocuspocus import IgnoredMessage


async def serve(document: Document, token: str) -> Closing:
    """Serve a document by ending it at once."""
    del document, token
    await asyncio.sleep(0)
    return Closing(Close.NORMAL, "")


async def test_end_of_a_document_frees_a_waiting_large_message() -> None:
    """After the end of a document, neither a waiting large message nor a later one blocks the socket."""
    document = Document("a", serve)
    for _ in range(MAX_QUEUED):
        await document.put(IgnoredMessage(), 1, until_handled=False)
    waiting = asyncio.create_task(document.put(IgnoredMessage(), 1, until_handled=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    document.drop_messages()
    async with asyncio.timeout(5):
        await waiting
        for _ in range(MAX_QUEUED + 1):
            await document.put(IgnoredMessage(), 1, until_handled=True)
    assert document.queued_bytes == 0
