"""`saved`: a client that asks for it is told what PostgreSQL has committed."""

from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.yjs_driver import SAVED


async def test_saved_counts_this_connections_messages(studio: Studio, canvas: str) -> None:
    """Each edit in turn is reported, the answer to the handshake included. Proves R-SAVE-1."""
    client = await studio.join(canvas)
    await studio.driver.saved([client])
    status = await client.status()
    assert status.saved == status.documents == 1
    for number in range(5):
        await client.add(f"shape-{number}")
        await studio.driver.saved([client])
        status = await client.status()
        assert status.saved == status.documents == number + 2


async def test_what_is_saved_is_in_postgresql(studio: Studio, canvas: str) -> None:
    """The export reads PostgreSQL: at the moment of `saved` the edit is there. Proves R-SAVE-2."""
    client = await studio.join(canvas)
    for number in range(10):
        await client.add(f"shape-{number}")
        await studio.driver.saved([client])
        exported = await studio.owner.export(canvas, "yjs")
        assert await studio.driver.digest_of(exported) == await client.digest()


async def test_saved_is_each_connections_own(studio: Studio, canvas: str) -> None:
    """Others' edits do not count, and a new connection counts from its beginning. Proves R-SAVE-3."""
    busy, quiet = await studio.crowd(canvas, 2)
    for number in range(20):
        await busy.add(f"shape-{number}")
    await studio.driver.saved([busy, quiet])
    assert (await quiet.status()).saved == 1
    await busy.drop()
    await busy.closed()
    await studio.driver.saved([busy])
    assert (await busy.status()).saved == 1


async def test_who_does_not_ask_is_not_told(studio: Studio, canvas: str) -> None:
    """A plain y-websocket client gets nothing that it does not know. Proves R-SAVE-4."""
    plain = await studio.join(canvas, params={"token": await studio.owner.token()})
    asking = await studio.join(canvas)
    await studio.driver.synced([plain, asking])
    await plain.add("by-the-plain-one")
    await studio.driver.have([asking], "by-the-plain-one")
    await asking.add("after")
    await studio.driver.saved([asking])
    await studio.driver.have([plain], "after")
    assert SAVED not in (await plain.status()).received
