"""The fixture that removes the pauses after long transactions from the unit tests of collab."""

import math

import pytest

from svgx_collab import bounds


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no transaction cause a pause. On a busy machine, a short transaction may take several milliseconds."""
    monkeypatch.setattr(bounds, "SHORT_TRANSACTION_SECONDS", math.inf)
