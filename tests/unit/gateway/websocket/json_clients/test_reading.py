"""The refusal of texts that are no message of a JSON client."""

import pytest

from svgx_common.contract.errors import BadRequest
from svgx_common.contract.live.json_messages import CLIENT_MESSAGES
from svgx_gateway.websocket.endpoint import MAX_REASON_BYTES
from svgx_gateway.websocket.json_clients.reading import receive


@pytest.mark.parametrize("text", ['{"type": "edit"}', '{"type": 7}', "{}", "[]"])
def test_refusal_of_an_unknown_type_names_all_types_within_a_close_reason(text: str) -> None:
    """The reason of a close frame is cut off beyond its limit. Proves R-JSON-1."""
    with pytest.raises(BadRequest) as refused:
        receive(text)
    assert len(refused.value.detail.encode()) <= MAX_REASON_BYTES
    assert all(kind in refused.value.detail for kind in CLIENT_MESSAGES)
