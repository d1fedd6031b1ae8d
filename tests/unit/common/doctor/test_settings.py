"""The check of the settings by the command `doctor`."""

from pathlib import Path

import pytest

from svgx_common.doctor.findings import Status
from svgx_common.doctor.settings import check_settings
from svgx_gateway.settings import GatewaySettings
from svgx_state.settings import StateSettings

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


def test_misspelt_variable_of_a_setting_in_the_file_has_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-CONFIG-5 and R-CONFIG-7: such a variable does not stop the start, and has no effect.

    A variable to which the file refers has its effect, and no warning.
    """
    path = tmp_path / "config.yaml"
    path.write_text("database: {url: '${POSTGRES_URI}'}\nstate: {webhook_give_up_seconds: 86400}\n")
    monkeypatch.setenv("SVGX_CONFIG", str(path))
    monkeypatch.setenv("POSTGRES_URI", "postgresql://127.0.0.1/svgx")
    monkeypatch.setenv("WEBHOOK_GIVE_UP_SECOND", "5")
    findings, _ = check_settings(StateSettings)
    (finding,) = (each for each in findings if each.check == "settings")
    assert finding.status is Status.WARNING
    assert finding.detail == (
        "WEBHOOK_GIVE_UP_SECOND: unknown variable; did you mean WEBHOOK_GIVE_UP_SECONDS?"
    )
