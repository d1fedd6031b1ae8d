"""The check of the settings by the command `doctor`."""

import pytest

from svgx_common.doctor.findings import Status
from svgx_common.doctor.settings import check_settings
from svgx_gateway.settings import GatewaySettings

SECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("variables", "warned"),
    [
        ({"JWT_SECRET": SECRET}, set()),
        ({"JWT_SECRET": SECRET[:8]}, {"JWT_SECRET"}),
        ({"JWT_SECRET": SECRET, "JWT_OTHER_SECRET": SECRET[::-1]}, {"JWT_OTHER_SECRET"}),
        ({"JWT_SECRET": SECRET, "JWT_OTHER_SECRET": ""}, set()),
    ],
    ids=["strong", "short", "left over", "removed"],
)
def test_secret_that_weakens_tokens_has_a_warning(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], warned: set[str]
) -> None:
    """Proves R-CONFIG-7: a short `JWT_SECRET` has a warning, and so has a `JWT_OTHER_SECRET` that is still set.

    While `JWT_OTHER_SECRET` is set, tokens of the replaced secret stay valid, even if that secret has leaked.
    """
    servers = {"NATS_URL": "nats://127.0.0.1:4222", "REDIS_URL": "redis://127.0.0.1:6379/0"}
    for name, value in {"ENVIRONMENT": "development", **servers, **variables}.items():
        monkeypatch.setenv(name, value)
    findings, _ = check_settings(GatewaySettings)
    assert {each.check for each in findings if each.status is not Status.OK} == warned
    assert all(SECRET[:8] not in each.detail + each.fix for each in findings)
