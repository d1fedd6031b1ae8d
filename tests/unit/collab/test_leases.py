"""Leases while Redis fails."""

from typing import Any, cast

from svgx_collab.leases import Leases
from svgx_common.redis import Redis, RedisError


class Script:
    """The script that takes leases, with the owners of some leases. It fails after `fails_after` calls."""

    def __init__(self, owners: dict[str, str], fails_after: int) -> None:
        self._owners = owners
        self._remaining = fails_after

    async def __call__(self, keys: list[str], args: list[Any]) -> str:
        if not self._remaining:
            raise RedisError
        self._remaining -= 1
        return self._owners.get(keys[0].rpartition(":")[2], str(args[0]))


class FakeRedis:
    """A Redis that has this script only."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def register_script(self, _: str) -> Script:
        return self._script


async def _alive(_: str) -> bool:
    return True


async def test_renewal_that_fails_half_way_reports_the_lost_leases_found_so_far() -> None:
    """The replica leaves the canvases that another replica is known to hold. Proves R-FAIL-22."""
    script = Script({"b": "other", "d": "other"}, fails_after=3)
    leases = Leases(cast(Redis, FakeRedis(script)), "own", _alive)
    assert await leases.renew(["a", "b", "c", "d"]) == ["b"]
    assert await leases.renew(["a", "b"]) == []
