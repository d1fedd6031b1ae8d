"""Imports, with a real holder and real worker processes."""

import asyncio
import time
from typing import Any

import pytest

from svgx_collab.bounds import Bounds, Limits
from svgx_collab.content import imports
from svgx_collab.content.imports import Imports
from svgx_common.contract.collab import (
    CANVAS_EDIT,
    CANVAS_SYNC,
    IMPORT_SVG,
    ImportSvgRequest,
    SyncReply,
)
from svgx_common.contract.errors import (
    DeadlineExceeded,
    Invalid,
    SvgxError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import encode
from svgx_devstack import DevStack
from svgx_workers.child import Child
from svgx_workers.errors import WorkerDied, WorkerError, WorkerTimeout, WorkerUnavailable
from svgx_workers.frames import Frame
from svgx_workers.pool import Workers
from tests.integration.collab.replica import WORKER_MEMORY, Editor, call, replica
from tests.integration.state.service import user

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="5"/></svg>'


@pytest.fixture
def importer(bus: Bus, workers: Workers) -> Imports:
    """Return the imports of a replica."""
    return Imports(bus, workers)


def request(editor: Editor, svg: bytes = SVG) -> ImportSvgRequest:
    """Return a request to import a file into the editor's canvas."""
    return ImportSvgRequest(canvas_id=editor.canvas_id).model_copy(update={"content": svg})


async def test_import_replaces_the_content(
    backing: DevStack, editor: Editor, importer: Imports
) -> None:
    """The import is one edit that the holder saves. A refused import changes nothing. Proves R-DOC-2 and R-SVG-1."""
    async with replica(backing):
        await editor.set("old", "x")
        imported = await importer.import_svg(request(editor), call())
        assert (imported.elements, imported.revision) == (1, 2)
        held = await editor.held()
        assert "old" not in held
        with pytest.raises(Invalid):
            await importer.import_svg(request(editor, b"<svg"), call())
        assert await editor.held() == held


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(canvas_structs=1), TooLarge("", limit=1)),
        (Limits(canvas_clients=0), TooLarge("", limit=0)),
        # The account is 1 s over its allowance, and regains a thousandth of a second in each second.
        (Limits(account_seconds=5, account_share=0.001), TooManyRequests("", retry_after=1000)),
    ],
)
async def test_import_that_a_bound_refuses_states_the_limit_or_the_seconds_to_wait(
    backing: DevStack,
    editor: Editor,
    importer: Imports,
    limits: Limits,
    expected: SvgxError,
) -> None:
    """Proves R-BOUND-1 and R-BOUND-2 for imports."""
    bounds, caller = Bounds(limits), user()
    if expected.retry_after:
        bounds.spend(caller.user_id, 6.0, time.monotonic())
    async with replica(backing, bounds=bounds):
        with pytest.raises(type(expected)) as refused:
            await importer.import_svg(request(editor), call(caller=caller))
        assert refused.value.limit == expected.limit
        assert refused.value.retry_after == pytest.approx(expected.retry_after, abs=60)
        assert await editor.held() == {}


@pytest.mark.parametrize(
    "case",
    [
        (WorkerDied("the process ended by signal 9"), TooLarge, "body", WORKER_MEMORY),
        (WorkerTimeout(30.0), TooLarge, "body", "30 s"),
        (WorkerUnavailable("no process can be started"), Unavailable, None, None),
        (WorkerUnavailable("the workers are closed"), Unavailable, None, None),
    ],
)
async def test_worker_failure_raises_the_error_for_its_cause(
    backing: DevStack,
    editor: Editor,
    importer: Imports,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[WorkerError, type[SvgxError], str | None, object],
) -> None:
    """A worker that ends or times out is reported as an error of the file. A missing worker is not.

    Proves R-SVG-1 and R-RESIL-2.
    """
    failure, error, field, limit = case

    async def fail(_: Child, job: Frame) -> Frame:
        raise failure

    async with replica(backing):
        with monkeypatch.context() as patch:
            patch.setattr(Child, "run", fail)
            with pytest.raises(error) as caught:
                await importer.import_svg(request(editor), call())
        assert (caught.value.field, caught.value.limit) == (field, limit)
        assert (await importer.import_svg(request(editor), call())).elements == 1


async def test_imports_of_one_account_leave_a_worker_to_others(
    backing: DevStack, editor: Editor, importer: Imports, workers: Workers
) -> None:
    """An account gets 429 beyond its share, and another account's import runs. Proves R-RESIL-5."""
    busy = user()
    async with replica(backing), workers.turn(busy.user_id):
        with pytest.raises(TooManyRequests) as caught:
            await importer.import_svg(request(editor), call(caller=busy))
        assert (caught.value.limit, caught.value.retry_after) == (1, 2.0)
        assert (await importer.import_svg(request(editor), call())).elements == 1


@pytest.mark.parametrize("answers_sync", [False, True])
async def test_import_ends_before_the_deadline_of_its_caller(
    bus: Bus,
    editor: Editor,
    importer: Imports,
    monkeypatch: pytest.MonkeyPatch,
    answers_sync: bool,
) -> None:
    """An import ends in time, even if the holder does not answer, or never saves. Proves R-RESIL-6."""
    for name, seconds in (("SYNC_SECONDS", 1.0), ("SAVE_SECONDS", 5.0), ("MARGIN_SECONDS", 4.0)):
        monkeypatch.setattr(imports, name, seconds)
    content = encode(SyncReply("epoch", 0, b"\x00", b"\x00\x00", b"\x00"))

    async def answer(message: Any) -> None:
        if answers_sync:
            await message.respond(content)

    async def stay_silent(message: Any) -> None:
        """Take the edit and do not answer."""

    connection = bus.connection
    subject = {"canvas_id": editor.canvas_id}
    subscriptions = [
        await connection.subscribe(CANVAS_SYNC.subject_of(**subject), cb=answer),
        await connection.subscribe(CANVAS_EDIT.subject_of(**subject), cb=stay_silent),
    ]
    try:
        async with asyncio.timeout(8.0):
            with pytest.raises((Unavailable, DeadlineExceeded)):
                await importer.import_svg(request(editor), call(8.0))
    finally:
        for subscription in subscriptions:
            await subscription.unsubscribe()


def test_steps_of_an_import_fit_into_its_time_limit() -> None:
    """The time limit covers the wait for a worker, the wait for the content, 20 s of work, and the time for saving.

    Proves R-RESIL-6.
    """
    limit = IMPORT_SVG.timeout
    before_worker = imports.QUEUE_SECONDS + imports.SYNC_SECONDS
    assert before_worker + imports.SAVE_SECONDS + 20 <= limit
    assert imports.MARGIN_SECONDS < imports.SAVE_SECONDS
