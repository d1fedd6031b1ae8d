"""The pools of operations: an operation that is always expensive shares no pool with cheap operations."""

import pytest

from svgx_common.contract import (
    OPERATIONS,
    api_keys,
    auth,
    collab,
    oidc,
    ratelimits,
    revocations,
    state,
)
from svgx_common.contract.administration.replicas import DRAIN_REPLICA
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import Pool, RateClass
from svgx_common.contract.storage.quotas import SET_QUOTAS

POOLS: list[tuple[Operation, Pool]] = [  # type: ignore[type-arg]  # of any types
    (auth.LOGIN, Pool.PASSWORD),
    (auth.CHANGE_PASSWORD, Pool.PASSWORD),
    (auth.CREATE_USER, Pool.PASSWORD),
    (auth.REFRESH, Pool.QUICK),
    (auth.LOGOUT, Pool.QUICK),
    (auth.UPDATE_USER, Pool.QUICK),
    (auth.DELETE_USER, Pool.QUICK),
    (auth.JWKS, Pool.QUICK),
    (oidc.OIDC_LOGIN, Pool.OUTSIDE),
    (oidc.OIDC_CALLBACK, Pool.OUTSIDE),
    (revocations.LIST_REVOCATIONS, Pool.INTERNAL),
    (api_keys.CHECK_API_KEY, Pool.INTERNAL),
    (state.CANVAS_ACCESS, Pool.INTERNAL),
    (state.JOURNAL_APPEND, Pool.INTERNAL),
    (state.EXPORT, Pool.HEAVY),
    (collab.IMPORT_SVG, Pool.HEAVY),
    (collab.OPEN, Pool.INTERNAL),
    (state.GET_CANVAS, Pool.QUICK),
    (state.GET_MEMBER, Pool.QUICK),
    (state.SET_MEMBER, Pool.ASKING),
    (state.REMOVE_MEMBER, Pool.ASKING),
    (ratelimits.SET_CONFIG, Pool.ASKING),
    (ratelimits.GET_CONFIG, Pool.ASKING),
    (ratelimits.ANALYTICS, Pool.OUTSIDE),
    (SET_QUOTAS, Pool.ASKING),
    (DRAIN_REPLICA, Pool.OUTSIDE),
]


@pytest.mark.parametrize(("operation", "pool"), POOLS, ids=lambda each: getattr(each, "name", each))
def test_operation_uses_the_pool_of_its_cost(operation: Operation, pool: Pool) -> None:  # type: ignore[type-arg]
    """Proves R-RESIL-2: operations of different cost have different pools."""
    assert operation.pool is pool


def test_heavy_and_password_operations_use_the_heavy_or_password_pools() -> None:
    """An operation of the heavy class, or with a required `password`, uses a heavy pool or the password pool.

    Proves R-RESIL-2.
    """
    pools = (Pool.HEAVY, Pool.HEAVY_WAITING, Pool.PASSWORD)
    for operation in OPERATIONS:
        fields = operation.request.model_fields
        expensive = operation.rate is RateClass.HEAVY or (
            "password" in fields and fields["password"].is_required()
        )
        assert not expensive or operation.pool in pools, operation.name


def test_refresh_and_log_in_have_different_rate_limits() -> None:
    """Proves R-LIMIT-1: log-ins from an address do not use up the refreshes of the users behind that address."""
    assert auth.REFRESH.rate is not auth.LOGIN.rate
