"""The check of the settings. If some are wrong, it still returns the valid ones, so that other checks can use them."""

import os
from typing import Any

from pydantic import SecretStr

from svgx_common.configuration import telemetry_variables
from svgx_common.doctor.findings import Finding, failed, ok, warning
from svgx_common.settings import (
    MIN_SECRET_BYTES,
    ServiceSettings,
    Settings,
    examine,
    unknown_variables,
    valid_values,
)

NAME = "settings"
_FIX_WRONG_SETTING = (
    "Correct the variable or the file, because the service does not start otherwise "
    "(`--help` lists all settings)."
)


def check_settings(kind: type[Settings]) -> tuple[list[Finding], dict[str, Any]]:
    """Return the results for the settings, and the values of the settings.

    If some settings are wrong, return the values of the settings that are valid one by one.
    """
    settings, errors = examine(kind)
    findings = [failed(NAME, error, _FIX_WRONG_SETTING) for error in errors]
    findings += [
        warning(
            NAME,
            f"{each.name}: unknown variable; did you mean {each.nearest}?",
            "Correct the name of the variable, or remove it.",
        )
        for each in unknown_variables(kind)
        if not each.refused  # `examine` reports these, unless the file has the setting
    ]
    findings += [
        warning(NAME, f"{name} is ignored: {reason}", "Correct the variable, or remove it.")
        for name, reason in telemetry_variables.ignored(os.environ)
    ]
    if settings is None:
        return findings, valid_values(kind)
    if not findings:
        findings.append(ok(NAME, f"valid, for {settings.environment}"))
    return [*findings, *_check_secret(settings), *_check_other_secret(settings)], {
        name: getattr(settings, name) for name in type(settings).model_fields
    }


def _check_secret(settings: ServiceSettings) -> list[Finding]:
    secret = getattr(settings, "jwt_secret", None)
    if not isinstance(secret, SecretStr) or not secret.get_secret_value():
        return []
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        fix = f"Replace it by {MIN_SECRET_BYTES} random bytes (`openssl rand -hex 32`)."
        return [warning("JWT_SECRET", f"has fewer than {MIN_SECRET_BYTES} bytes", fix)]
    return [ok("JWT_SECRET", f"has {MIN_SECRET_BYTES} bytes or more")]


def _check_other_secret(settings: ServiceSettings) -> list[Finding]:
    other = getattr(settings, "jwt_other_secret", None)
    if not isinstance(other, SecretStr) or not other.get_secret_value():
        return []
    fix = "Remove JWT_OTHER_SECRET when JWT_SECRET is the new secret and all earlier tokens have expired."
    return [warning("JWT_OTHER_SECRET", "is set, so the tokens of two secrets are valid", fix)]
