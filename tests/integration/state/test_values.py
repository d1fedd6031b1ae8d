"""Values over the bus: owners, shared values, lists and canvases."""

import json

import pytest

from svgx_canvas import import_svg
from svgx_common.contract.errors import (
    Forbidden,
    Invalid,
    NotFound,
)
from svgx_common.contract.fields.patterns import MAX_KEY_CHARACTERS
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import CanvasRequest, Entry
from svgx_common.contract.storage import values
from tests.integration.pages import all_pages
from tests.integration.state.service import Client, Tables, user
from tests.integration.state.values_client import delete, page, persist, retrieve

pytestmark = pytest.mark.usefixtures("service")


async def test_value_of_another_account_is_for_admins_only(client: Client) -> None:
    """Proves R-KV-2: only the owner and admins read, change, list or delete a value."""
    me, other, admin = client.me, user(Role.EDITOR), user(Role.ADMIN)
    version = await persist(client, me, "secret", "mine")
    for caller in (other, user(Role.VIEWER)):
        with pytest.raises(NotFound):
            await retrieve(client, caller, "secret")
        for attempt in (
            retrieve(client, caller, "secret", user_id=me.user_id),
            persist(client, caller, "secret", "theirs", user_id=me.user_id),
            delete(client, caller, "secret", user_id=me.user_id),
        ):
            with pytest.raises(Forbidden):
                await attempt
        with pytest.raises(Forbidden):
            await page(client, caller, user_id=me.user_id)
        await persist(client, caller, "secret", "own")
    with pytest.raises(NotFound):
        await retrieve(client, admin, "secret")
    assert (await retrieve(client, admin, "secret", user_id=me.user_id)).value == "mine"
    await persist(client, admin, "secret", "set", user_id=me.user_id, version=version)
    assert (await retrieve(client, me, "secret", user_id=me.user_id)).value == "set"
    assert [each.key for each in (await page(client, admin, user_id=me.user_id)).items] == [
        "secret"
    ]
    await delete(client, admin, "secret", user_id=me.user_id)
    with pytest.raises(NotFound):
        await retrieve(client, me, "secret")


async def test_shared_value_is_written_by_admins_and_read_by_all(client: Client) -> None:
    """Proves R-KV-2: all callers read a shared value, only admins change it, and a caller's own value is preferred."""
    admin, viewer = user(Role.ADMIN), user(Role.VIEWER)
    key = f"palette.{viewer.user_id}"
    with pytest.raises(Forbidden):
        await persist(client, client.me, key, 1, state_type="shared")
    await persist(client, admin, key, ["red"], state_type="shared")
    assert (await retrieve(client, viewer, key)).value == ["red"]
    for attempt in (
        delete(client, client.me, key, state_type="shared"),
        persist(client, client.me, key, 2, state_type="shared"),
    ):
        with pytest.raises(Forbidden):
            await attempt
    with pytest.raises(Invalid):
        await retrieve(client, admin, key, state_type="shared", user_id=admin.user_id)
    await persist(client, viewer, key, "own")
    assert (await retrieve(client, viewer, key)).value == "own"
    assert (await retrieve(client, viewer, key, state_type="shared")).value == ["red"]
    assert (await retrieve(client, client.me, key)).value == ["red"]
    listed = await page(client, viewer, state_type="shared", prefix=key)
    assert [each.key for each in listed.items] == [key]
    await delete(client, admin, key, state_type="shared")
    with pytest.raises(NotFound):
        await retrieve(client, client.me, key)


async def test_keys_are_listed_in_pages(client: Client) -> None:
    """Proves R-KV-7: the pages have each key with the prefix once, and a text that is no cursor is refused."""
    names = [f"p.{number}" for number in range(5)]
    for name in (*names, "q"):
        await persist(client, client.me, name, 1)
    pages = all_pages(lambda cursor: page(client, client.me, prefix="p.", limit=2, cursor=cursor))
    assert [each.key async for listed in pages for each in listed.items] == names
    for wrong in ("*", "cA=", "AA", "é"):
        with pytest.raises(Invalid, match="cursor"):
            await page(client, client.me, cursor=wrong)


async def test_cursor_after_the_longest_key_is_accepted(client: Client) -> None:
    """Proves R-KV-7 and R-STATE-15: the value `next` of every page leads to the next page."""
    keys = [name * MAX_KEY_CHARACTERS for name in "ab"]
    for key in keys:
        await persist(client, client.me, key, 1)
    first = await page(client, client.me, limit=1)
    second = await page(client, client.me, limit=1, cursor=first.next)
    assert [each.key for each in (*first.items, *second.items)] == keys


async def test_canvas_is_read_as_a_value(client: Client) -> None:
    """Proves R-KV-11: the value of a canvas is its element JSON, and the version is its revision."""
    canvas_id = await client.create('Plan "A" ☂')
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><rect id="box" width="5" height="4"/></svg>'
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg, None).update))
    request = CanvasRequest(canvas_id=canvas_id)
    blob = await client.bus.ask(values.RETRIEVE_CANVAS, request, caller=client.me)
    assert blob.media_type == "application/json"
    found = values.Value.model_validate_json(blob.content)
    assert (found.key, found.state_type) == (f"canvas_state_{canvas_id}", "canvas")
    assert (found.version, found.metadata) == (1, {"name": 'Plan "A" ☂'})
    assert found.value == json.loads((await client.export(canvas_id, format="json")).content)
    with pytest.raises(Forbidden):
        await client.bus.ask(values.RETRIEVE_CANVAS, request, caller=user())
    viewer = user(Role.VIEWER)
    await client.set_member(canvas_id, viewer.user_id, CanvasRole.VIEWER)
    await client.bus.ask(values.RETRIEVE_CANVAS, request, caller=viewer)
    await client.delete(canvas_id)
    with pytest.raises(NotFound):
        await client.bus.ask(values.RETRIEVE_CANVAS, request, caller=client.me)


async def test_value_is_stored_as_text(client: Client, tables: Tables) -> None:
    """Proves R-KV-1: numbers, member order and U+0000 are kept, which jsonb would change or refuse."""
    value = {"z": 1.0, "a": "\0", "n": 10**30, "small": 1e-7}
    await persist(client, client.me, "exact", value)
    found = await retrieve(client, client.me, "exact")
    assert isinstance(found.value, dict)
    assert json.dumps(found.value) == json.dumps(value)
    stored = await tables.fetchval(
        "SELECT bytes FROM stored_value WHERE owner = $1", client.me.user_id
    )
    assert stored == len(values.compact_json(value).encode()) + 2
