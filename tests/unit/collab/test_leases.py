"""The renewal of leases, also while Redis fails."""

from typing import Any, cast

import pytest

from svgx_collab import leases as module
from svgx_collab.leases import Leases
from svgx_common.redis import Redis, RedisError


class Script:
    """A fake of the Redis script that takes leases. `owners` has the owners of some leases by canvas.

    The replica has the other leases. An empty owner stands for a free lease. The script fails after `fails_after`
    calls.
    """

    def __init__(self, owners: dict[str, str], fails_after: int) -> None:
        self._owners = owners
        self._remaining = fails_after

    def fail_after(self, calls: int) -> None:
        """Answer this number of calls, then fail again."""
        self._remaining = calls

    async def __call__(self, keys: list[str], args: list[Any]) -> list[str]:
        if not self._remaining:
            raise RedisError
        self._remaining -= 1
        return [self._owners.get(key.rpartition(":")[2], str(args[0])) for key in keys]


class FakeRedis:
    """A fake Redis that has only this script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def register_script(self, _: str) -> Script:
        return self._script


async def _alive(_: str) -> bool:
    return True


async def test_renewal_that_fails_half_way_reports_the_lost_leases_found_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The replica leaves the canvases that another replica is known to hold. Proves R-FAIL-22."""
    monkeypatch.setattr(module, "RENEWED_TOGETHER", 2)
    script = Script({"b": "other", "d": "other"}, fails_after=1)
    leases = Leases(cast(Redis, FakeRedis(script)), "own", _alive)
    assert (await leases.renew(["a", "b", "c", "d"])).lost == ["b"]
    assert leases.is_degraded
    assert (await leases.renew(["a", "b"])).lost == []
    script.fail_after(1)
    assert await leases.take("a")
    assert not leases.is_degraded


async def test_renewal_names_the_canvases_that_another_replica_may_have_held() -> None:
    """These are canvases with a free lease, and all canvases after a failure of Redis. Proves R-FAIL-13."""
    script = Script({"free": "", "lost": "other"}, fails_after=1)
    leases = Leases(cast(Redis, FakeRedis(script)), "own", _alive)
    canvases = ["kept", "free", "lost"]
    assert (await leases.renew(canvases)).doubtful == ["free"]
    assert (await leases.renew(canvases)).doubtful == []
    script.fail_after(3)
    assert await leases.take("new")
    assert (await leases.renew(canvases)).doubtful == ["kept", "free"]
    assert (await leases.renew(canvases)).doubtful == ["free"]


async def test_one_command_renews_many_leases() -> None:
    """Only leases of other replicas are reported, in the order of the renewed canvases. Proves R-FAIL-13."""
    canvases = [str(number) for number in range(2 * module.RENEWED_TOGETHER + 50)]
    lost = [canvases[0], canvases[module.RENEWED_TOGETHER], canvases[-1]]
    script = Script(dict.fromkeys(lost, "other"), fails_after=3)
    leases = Leases(cast(Redis, FakeRedis(script)), "own", _alive)
    assert (await leases.renew(canvases)).lost == lost
