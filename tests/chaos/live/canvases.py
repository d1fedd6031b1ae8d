"""The canvases of a live drill with their editors, and the checks of their documents."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pycrdt import Map

from svgx_yjs.structure import read_state_vector
from tests.chaos.live.light_editor import LightEditor, drawing_of
from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import Digest, YjsClient
from tests.polling import pause

_SHARES = (0.4, 0.3, 0.2, 0.1)
"""The share of all editors that each canvas has."""

_CANVASES_WITH_YJS_CLIENTS = 2
"""Number of canvases that also have clients in Node. On the other canvases, all clients can vanish at once."""

EDITORS_PER_YJS_CLIENT = 12
"""One in this many editors is a Yjs client in Node."""

_CONVERGE_SECONDS = 60.0
"""Seconds within which all documents of a canvas must become equal."""

_numbers = itertools.count(1)


@dataclass(slots=True)
class DrillCanvas:
    """One canvas. `editors` are its present light editors, `clients` its Yjs clients in Node."""

    id: str
    clients: list[YjsClient]
    editors: list[LightEditor] = field(default_factory=list)
    vanished: list[LightEditor] = field(default_factory=list)

    @property
    def present_and_vanished(self) -> Sequence[LightEditor]:
        """All light editors that the canvas ever had."""
        return [*self.editors, *self.vanished]

    def join(self, addresses: Sequence[str], seed: int, rate: float) -> LightEditor:
        """Add a light editor, which connects at once and edits after a call of its `start`.

        `addresses`: the URLs of the gateways with `{canvas}` for the canvas id. `rate`: edits a second.
        """
        name = f"light-{next(_numbers)}"
        urls = [address.format(canvas=self.id) for address in addresses]
        editor = LightEditor(name, urls, seed=seed, rate=rate)
        self.editors.append(editor)
        return editor

    def leave(self, editor: LightEditor) -> None:
        """Move an editor to the vanished editors."""
        self.editors.remove(editor)
        self.vanished.append(editor)


def split(editors: int) -> Iterator[tuple[int, int]]:
    """Yield, for each canvas, the number of light editors and the number of Yjs clients."""
    clients = max(_CANVASES_WITH_YJS_CLIENTS, editors // EDITORS_PER_YJS_CLIENT)
    for number, share in enumerate(_SHARES):
        members = max(2, round(editors * share))
        yjs_clients = 0
        if number < _CANVASES_WITH_YJS_CLIENTS:
            yjs_clients = max(1, clients // _CANVASES_WITH_YJS_CLIENTS)
        yield members - yjs_clients, yjs_clients


async def check_equal(workspace: Workspace, canvas: DrillCanvas) -> None:
    """Check that a new client, PostgreSQL, all Yjs clients and all light editors have equal documents."""
    driver = workspace.driver
    newcomer = await workspace.connect(canvas.id)
    await driver.wait_synced([newcomer])
    digest, exported = await _converged(workspace, canvas, newcomer)
    vector = read_state_vector(drawing_of(exported).get_state())
    try:
        async with asyncio.timeout(_CONVERGE_SECONDS):
            for editor in canvas.editors:
                while read_state_vector(editor.doc.get_state()) != vector:
                    await pause()
            while await _names_of_different(workspace, canvas.editors, digest):
                await pause()
    except TimeoutError:
        names = await _names_of_different(workspace, canvas.editors, digest)
        raise AssertionError(
            f"canvas {canvas.id}: these editors have another document: {', '.join(names)}"
        ) from None


async def _converged(
    workspace: Workspace, canvas: DrillCanvas, newcomer: YjsClient
) -> tuple[Digest, bytes]:
    """Wait until the new client, all Yjs clients and PostgreSQL have equal documents.

    Return the digest, and the document from PostgreSQL. The wait may take a few seconds: if a holder lost its lease at
    the end of the drill, the clients get the last commits from the next holder.
    """
    driver = workspace.driver
    clients = [newcomer, *canvas.clients]
    try:
        async with asyncio.timeout(_CONVERGE_SECONDS):
            while True:
                digest = await driver.wait_converged(clients, timeout=_CONVERGE_SECONDS)
                exported = await workspace.owner.export(canvas.id, "yjs")
                if await driver.digest_of(exported) == digest:
                    return digest, exported
                await pause()
    except TimeoutError:
        raise AssertionError("PostgreSQL and the Yjs clients have different documents") from None


async def _names_of_different(
    workspace: Workspace, editors: Iterable[LightEditor], digest: Digest
) -> list[str]:
    """Return the names of the editors with a document that does not have this digest."""
    digests: dict[bytes, Digest] = {}
    found = []
    for editor in editors:
        update = editor.doc.get_update()
        if update not in digests:
            digests[update] = await workspace.driver.digest_of(update)
        if digests[update] != digest:
            found.append(editor.name)
    return found


def lost(canvas: DrillCanvas, exported: bytes) -> list[str]:
    """Return the keys of the edits that were reported as saved but are missing from the exported document."""
    content = drawing_of(exported).get("canvas", type=Map[str]).to_py() or {}
    return [
        editor.key(number)
        for editor in canvas.present_and_vanished
        for number in range(editor.saved)
        if content.get(editor.key(number), "").strip() != str(number)
    ]
