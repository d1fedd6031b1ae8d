"""Fixtures of the tests of network policies, which `make network-check` runs in a network namespace."""

import os

import pytest

from tests.deploy.cluster.conftest import cluster
from tests.deploy.go_program import KUBE_ROUTER
from tests.deploy.network.pods import is_isolated

__all__ = ["cluster"]


@pytest.fixture(scope="session", autouse=True)
def isolated() -> None:
    """Skip the tests outside a network namespace, because they change the packet filter. If `CI` is set, fail them."""
    KUBE_ROUTER.require()
    if not is_isolated():
        reason = "`make network-check` runs these tests in a network namespace, as root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
