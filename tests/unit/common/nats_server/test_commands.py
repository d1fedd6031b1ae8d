"""The commands that print keys and users for a NATS server."""

import json

import pytest

from svgx_common.contract.operation import SERVICES
from svgx_common.contract.permissions import permissions
from svgx_common.nats_server import commands
from svgx_common.nats_server.users import credentials_as_variables, users_configuration


def test_nats_config_without_an_option_prints_the_users_block(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The block is for the configuration file of a server. Proves R-BUS-11."""
    commands.print_configuration([])
    assert capsys.readouterr().out == users_configuration(credentials_as_variables)


def test_values_of_the_official_chart_name_every_key_and_subject(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`nats-config --format chart` prints JSON, which Helm reads as YAML. Proves R-BUS-11."""
    commands.print_configuration(["--format", "chart", "--secret", "own-keys"])
    values = json.loads(capsys.readouterr().out)
    users = values["config"]["merge"]["authorization"]["users"]
    for service, user in zip(SERVICES, users, strict=True):
        variable = f"{service.upper()}_NKEY"
        assert user["nkey"] == f"<< ${variable} >>"
        assert user["permissions"]["publish"] == list(permissions(service).publish)
        assert user["permissions"]["subscribe"] == list(permissions(service).subscribe)
        assert values["container"]["env"][variable]["valueFrom"]["secretKeyRef"] == {
            "name": "own-keys",
            "key": f"{service}-nkey",
        }
