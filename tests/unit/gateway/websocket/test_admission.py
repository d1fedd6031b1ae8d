"""The limits on open connections: of a gateway, an account, a visitor's address, and a share link."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from svgx_common.contract.errors import Overloaded
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.ratelimit.limiter import LINK_FACTOR
from svgx_gateway.websocket.admission import Admission, SocketLimits

LIMITS = SocketLimits(
    connections=1000, per_identity=3, first_message_seconds=1.0, max_message_bytes=1
)


OPEN_CONNECTIONS = ExitStack()
"""The open connections of all tests."""


def enter_visitor(admission: Admission, address: str, link: str) -> bool:
    """Open a visitor's connection, and keep it open. Return False if it was refused."""
    counted = admission.admit_visitor(f"visitor:{address}", f"link:{link}")
    if counted is None:
        return False
    OPEN_CONNECTIONS.enter_context(counted)
    return True


def test_address_gets_no_further_connection_with_other_links() -> None:
    """A visitor's connections count by address, however many links the visitor uses. Proves R-LIFE-9."""
    admission = Admission(LIMITS)
    admitted = [enter_visitor(admission, "192.0.2.1", str(number)) for number in range(5)]
    assert admitted == [True, True, True, False, False]
    assert enter_visitor(admission, "192.0.2.2", "0")
    counted = admission.admit_account("user:a")
    assert counted is not None


def test_visitors_of_one_link_are_bounded_together() -> None:
    """A link has ten times the limit of an address, and does not use up the limit of another link. Proves R-LIFE-9."""
    admission = Admission(LIMITS)
    admitted = [
        enter_visitor(admission, f"192.0.2.{number // 3}", "popular") for number in range(50)
    ]
    assert admitted.count(True) == 3 * LINK_FACTOR
    assert enter_visitor(admission, "192.0.2.200", "other")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (RateLimitKey("user:a", None), "at most 3 connections of one account"),
        (
            RateLimitKey("visitor:a", None, shared="link:l"),
            "at most 3 connections of one address, and 30 of one share link",
        ),
    ],
    ids=["account", "visitor"],
)
def test_refusal_beyond_a_limit_names_the_limits_of_its_caller(
    key: RateLimitKey, reason: str
) -> None:
    """A visitor has no account, so the reason names the limits of an address and a link. Proves R-LIMIT-9."""
    admission = Admission(LIMITS)
    for _ in range(3):
        OPEN_CONNECTIONS.enter_context(admission.admit(key))
    with pytest.raises(Overloaded) as refused:
        admission.admit(key)
    assert refused.value.detail == reason


@pytest.mark.parametrize("refused_by", ["address", "link"])
def test_closed_connection_of_a_visitor_frees_both_places(refused_by: str) -> None:
    """A closed connection frees its place at the address and at the link. A refused connection takes no place.

    Proves R-LIFE-9 and R-LIMIT-9.
    """
    admission = Admission(LIMITS)
    first = admission.admit_visitor("visitor:a", "link:l")
    assert first is not None
    with first:
        addresses = ["a"] * 4 if refused_by == "address" else [str(each) for each in range(40)]
        assert not all(enter_visitor(admission, address, "l") for address in addresses)
        assert admission.admit_visitor("visitor:a", "link:l") is None
    assert enter_visitor(admission, "a", "l")
    assert not enter_visitor(admission, "a", "l")


def refused_connections() -> float:
    """Return the number of connections that a limit of an account, an address or a link has refused."""
    name, labels = "svgx_engine_websocket_refused_total", {"limit": "identity"}
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_visitor_beyond_two_limits_is_counted_once() -> None:
    """When the visitor's address and link are both at their limits, the metric counts one refusal. Proves R-LIMIT-9."""
    admission = Admission(LIMITS)
    for number in range(3 * LINK_FACTOR):
        assert enter_visitor(admission, str(number // 3), "popular")
    before = refused_connections()
    assert not enter_visitor(admission, "0", "popular")
    assert refused_connections() == before + 1


def test_handed_over_connection_keeps_both_places_until_its_end() -> None:
    """The places of the gateway and of the account outlast the handshake, and end together. Proves R-LIMIT-9."""
    admission = Admission(replace(LIMITS, connections=1, per_identity=1))
    key = RateLimitKey("user:a", None)
    on_gateway = admission.admit_to_gateway()
    assert on_gateway is not None
    with on_gateway:
        on_gateway.include(admission.admit(key))
        handed_over = on_gateway.hand_over()
    assert admission.admit_to_gateway() is None
    with pytest.raises(Overloaded):
        admission.admit(key)
    handed_over.end()
    handed_over.end()
    places = admission.admit_to_gateway(), admission.admit(key)
    assert places[0] is not None
    with places[0], places[1]:
        assert admission.admit_to_gateway() is None
