"""The alerts of the charts: valid rules, and each alert fires on its condition and is quiet otherwise."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import values
from svgx_common.contract.operation import SERVICES
from tests.deploy.debian import program

JOBS = [f"svgx-{service}" for service in SERVICES]


@dataclass(frozen=True, slots=True)
class Case:
    """Series with which an alert fires, and series with which it stays quiet. Values are in Prometheus' notation."""

    fires: dict[str, str]
    quiet: dict[str, str]


def common_cases(job: str) -> dict[str, Case]:
    """Return the cases of the alerts that every service has."""
    errors = f'svgx_engine_errors_total{{job="{job}"}}'
    requests = f'svgx_engine_requests_total{{job="{job}"}}'
    bucket = f'svgx_engine_request_duration_seconds_bucket{{job="{job}",le='
    up = f'up{{job="{job}",pod="{job}-1"}}'
    return {
        "SVGXEngineHighErrorRate": Case(
            fires={errors: "0+60x20", requests: "0+600x20"},
            # Too few errors, and too small a part of the requests.
            quiet={errors: "0+3x20", requests: "0+3000x20"},
        ),
        "SVGXEngineHighResponseTime": Case(
            fires={
                f'{bucket}"2"}}': "0+90x20",
                f'{bucket}"5"}}': "0+100x20",
                f'{bucket}"+Inf"}}': "0+100x20",
            },
            quiet={
                f'{bucket}"2"}}': "0+96x20",
                f'{bucket}"5"}}': "0+100x20",
                f'{bucket}"+Inf"}}': "0+100x20",
            },
        ),
        "SVGXEnginePodDown": Case(fires={up: "1x5 0x15"}, quiet={up: "1x20"}),
        "SVGXEngineServiceDown": Case(fires={up: "1x5 _x15"}, quiet={up: "1x20"}),
    }


OWN_CASES: dict[str, dict[str, Case]] = {
    "svgx-auth": {
        "SVGXEngineSuspiciousActivity": Case(
            fires={'svgx_engine_failed_logins_total{job="svgx-auth"}': "0+900x20"},
            quiet={'svgx_engine_failed_logins_total{job="svgx-auth"}': "0+60x20"},
        )
    },
    "svgx-gateway": {
        "SVGXEngineRateLimitExceeded": Case(
            fires={'svgx_engine_rate_limit_hits_total{job="svgx-gateway"}': "0+6000x20"},
            quiet={'svgx_engine_rate_limit_hits_total{job="svgx-gateway"}': "0+600x20"},
        )
    },
    "svgx-state": {
        "SVGXEngineJournalGap": Case(
            fires={'svgx_engine_journal_gaps_total{job="svgx-state"}': "0x5 1x15"},
            quiet={'svgx_engine_journal_gaps_total{job="svgx-state"}': "1x20"},
        )
    },
    "svgx-collab": {
        "SVGXEngineEditsNotSaved": Case(
            fires={'svgx_engine_collab_commit_failures_total{job="svgx-collab"}': "0+1x20"},
            quiet={'svgx_engine_collab_commit_failures_total{job="svgx-collab"}': "5x20"},
        )
    },
}


def rules_path(job: str) -> Path:
    """Return the file with the alerts of a service."""
    return values.HELM / job.removeprefix("svgx-") / "alerts.yaml"


def alerts(job: str) -> list[dict[str, Any]]:
    """Return the alerts of a service."""
    content = yaml.safe_load(rules_path(job).read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("job", JOBS)
def test_every_alert_has_cases_a_severity_and_a_runbook(job: str) -> None:
    """A new alert without a case fails this test."""
    found = alerts(job)
    assert {each["alert"] for each in found} == (common_cases(job) | OWN_CASES[job]).keys()
    for each in found:
        assert each["labels"]["severity"] in ("warning", "critical")
        assert each["annotations"].keys() == {"summary", "description", "runbook_url"}


@pytest.mark.parametrize("job", JOBS)
def test_alerts_fire_on_their_conditions_only(job: str, tmp_path: Path) -> None:
    """Each alert fires while its condition lasts, and no alert fires in its quiet case."""
    promtool = program("promtool", "prometheus")
    tests = []
    for alert, case in (common_cases(job) | OWN_CASES[job]).items():
        for series, fires in ((case.fires, True), (case.quiet, False)):
            (rule,) = (each for each in alerts(job) if each["alert"] == alert)
            tests.append(_test(rule, series, fires=fires))
    file = tmp_path / "tests.yaml"
    content = {"rule_files": [str(rules_path(job))], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    for arguments in (["check", "rules", str(rules_path(job))], ["test", "rules", str(file)]):
        result = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def _test(rule: dict[str, Any], series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """Return a test in promtool's format: whether the alert fires after 15 minutes.

    promtool compares labels and annotations of alerts, so the test asks for the series `ALERTS` instead.
    """
    expression = f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}) or vector(0)'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": "15m",
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }
