"""The scenario `past-clients` of the benchmark does not exceed the bounds of the stack that it starts."""

import pytest

from bench.collab import edits
from bench.collab.measures.contrasts import CLIENTS_OF_UPDATE, PAST_CLIENTS
from bench.collab.scenarios import SCENARIOS
from svgx_canvas.document.shared_document import Growth
from svgx_collab.bounds import Bounds
from svgx_collab.settings import CollabSettings
from svgx_yjs.lib0 import Decoder


def test_past_clients_of_one_account_are_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings of `past-clients`, the account that uploads the past clients is never refused."""
    [scenario] = [each for each in SCENARIOS if each.name == "past-clients"]
    for name, value in scenario.settings.items():
        monkeypatch.setenv(name, value)
    bounds = Bounds(CollabSettings().limits())
    clients = 0
    for update in edits.past_clients(2**31, PAST_CLIENTS, CLIENTS_OF_UPDATE):
        added = Decoder(update).uint()
        bounds.admit("account", Growth(structs=added, clients=added), clients, clients, now=0.0)
        clients += added
    assert clients == PAST_CLIENTS
