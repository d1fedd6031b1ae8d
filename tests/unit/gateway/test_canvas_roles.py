"""The cache of callers' roles on canvases."""

from types import SimpleNamespace
from typing import cast

import pytest

from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Access
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity import canvas_roles
from svgx_gateway.identity.canvas_roles import MAX_AGE_SECONDS, CanvasRoles
from tests.clock import Clock


class FakeState:
    """A state service that makes each caller an editor, and counts the requests."""

    def __init__(self) -> None:
        self.requests = 0

    async def ask(self, *_: object, **__: object) -> Access:
        self.requests += 1
        return Access(role=CanvasRole.EDITOR)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the clock of the cache."""
    clock = Clock()
    monkeypatch.setattr(canvas_roles, "time", SimpleNamespace(monotonic=clock))
    return clock


def caller(number: int) -> Caller:
    return Caller(f"user {number}", "name", Role.EDITOR, "session")


def count_entries(roles: CanvasRoles) -> int:
    return sum(map(len, roles._cache.values()))


async def test_outdated_roles_of_a_canvas_leave_the_cache(clock: Clock) -> None:
    """A canvas with many visitors keeps only the roles that are younger than `MAX_AGE_SECONDS`."""
    roles = CanvasRoles(cast(Bus, FakeState()))
    for number in range(500):
        await roles.role(caller(number), "canvas")
        clock.now += MAX_AGE_SECONDS / 10
    assert count_entries(roles) <= 11


async def test_canvases_with_outdated_roles_leave_the_cache(clock: Clock) -> None:
    """A canvas without a role that is younger than `MAX_AGE_SECONDS` is removed when another canvas gets a role."""
    roles = CanvasRoles(cast(Bus, FakeState()))
    for number in range(500):
        await roles.role(caller(0), f"canvas-{number}")
        clock.now += MAX_AGE_SECONDS / 10
    assert len(roles._cache) <= 11


async def test_role_that_is_renewed_stays_in_the_cache(clock: Clock) -> None:
    """A role that was requested again is used for `MAX_AGE_SECONDS`, while older roles of the canvas are removed."""
    state = FakeState()
    roles = CanvasRoles(cast(Bus, state))
    await roles.role(caller(0), "canvas")
    await roles.role(caller(1), "canvas")
    clock.now += MAX_AGE_SECONDS + 1
    await roles.role(caller(0), "canvas")
    clock.now += MAX_AGE_SECONDS - 2
    await roles.role(caller(2), "canvas")
    await roles.role(caller(0), "canvas")
    assert state.requests == 4
    assert count_entries(roles) == 2
