"""The alerts of the charts have valid rules. Each alert fires if, and only if, its condition holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import values
from deploy.build.helm import NAMESPACE, RELEASE, Helm
from svgx_common.contract.operation import SERVICES
from tests.deploy.objects import parse_objects
from tests.deploy.promtool import run_promtool, write_tests

RUNBOOKS_URL = "https://docs.svgx-engine.com/runbooks"

JOBS = [f"svgx-{service}" for service in SERVICES]


@dataclass(frozen=True, slots=True)
class AlertCases:
    """The cases in which one alert must fire (`fires`), and in which it must not fire (`quiet`).

    Each dict is one case: the samples of each series in Prometheus' notation. `step` is the time between two samples.
    `at` is the time from the first sample to the check.
    """

    fires: tuple[dict[str, str], ...]
    quiet: tuple[dict[str, str], ...]
    at: str = "15m"
    step: str = "1m"


def common_cases(job: str) -> dict[str, AlertCases]:
    """Return the cases of the alerts that every service has."""
    errors = f'svgx_engine_errors_total{{job="{job}"}}'
    requests = f'svgx_engine_requests_total{{job="{job}"}}'
    bucket = f'svgx_engine_request_duration_seconds_bucket{{job="{job}",le='
    up = f'up{{job="{job}",pod="{job}-1"}}'
    nats = f'svgx_engine_dependency_up{{job="{job}",dependency="nats",pod='
    redis = f'svgx_engine_dependency_up{{job="{job}",dependency="redis"}}'
    return {
        "SVGXEngineHighErrorRate": AlertCases(
            fires=({errors: "0+60x20", requests: "0+600x20"},),
            quiet=(
                # Few requests, which all fail; many requests, of which a small share fails; no requests.
                {errors: "0+3x20", requests: "0+3x20"},
                {errors: "0+60x20", requests: "0+3000x20"},
                {errors: "0x20", requests: "0x20"},
            ),
        ),
        "SVGXEngineHighResponseTime": AlertCases(
            fires=(
                {
                    f'{bucket}"2"}}': "0+90x20",
                    f'{bucket}"5"}}': "0+100x20",
                    f'{bucket}"+Inf"}}': "0+100x20",
                },
            ),
            quiet=(
                {
                    f'{bucket}"2"}}': "0+96x20",
                    f'{bucket}"5"}}': "0+100x20",
                    f'{bucket}"+Inf"}}': "0+100x20",
                },
            ),
        ),
        "SVGXEnginePodDown": AlertCases(fires=({up: "1x5 0x15"},), quiet=({up: "1x20"},)),
        "SVGXEngineServiceDown": AlertCases(
            fires=({up: "1x5 _x15"}, {up: "1x5 0x15"}, {}), quiet=({up: "1x20"},)
        ),
        "SVGXEngineDependencyDown": AlertCases(
            fires=({f'{nats}"1"}}': "1x20", f'{nats}"2"}}': "1x5 0x15"},),
            quiet=({f'{nats}"1"}}': "1x5 0 1x15"}, {redis: "0x20"}),
        ),
    }


def burn_cases(bad: str, good: str) -> tuple[AlertCases, AlertCases]:
    """Return the cases of an objective's fast and slow alert. `bad` and `good` are the series that count its events."""
    return (
        AlertCases(
            # 2 % exceeds the limits of both window pairs. 1 % exceeds only the limit of the pair 30m and 6h.
            fires=({bad: "0+40x50", good: "0+1960x50"}, {bad: "0+20x50", good: "0+1980x50"}),
            quiet=(
                {bad: "0+10x50", good: "0+1990x50"},
                # The failures have ended: only the long windows still contain failures.
                {bad: "0+200x25 5000x25", good: "0+1800x50"},
                # The failures have just begun: only the short windows exceed the limits.
                {bad: "0x47 100 200 300", good: "0+1900x50"},
                # A few failures among few requests.
                {bad: "0x45 1 2 3 4 5x5", good: "0+0.01x50"},
            ),
            at="100m",
            step="2m",
        ),
        AlertCases(
            # 0.4 % exceeds the limits of both window pairs. 0.2 % exceeds only the limit of the pair 6h and 3d.
            fires=({bad: "0+40x48", good: "0+9960x48"}, {bad: "0+20x48", good: "0+9980x48"}),
            quiet=(
                {bad: "0+5x48", good: "0+9995x48"},
                {bad: "0+400x6 2400x42", good: "0+9600x48"},
                {bad: "0x6 1 2 3 4 5x42", good: "0+0.01x48"},
            ),
            at="8h",
            step="10m",
        ),
    )


def outbox_cases(job: str) -> AlertCases:
    """Return the cases of the alert on an outbox with old events."""
    lag = f'svgx_engine_events_outbox_lag_seconds{{job="{job}"}}'
    return AlertCases(fires=({lag: "0x5 30+60x15"},), quiet=({lag: "5x20"}, {lag: "0x12 90 0x10"}))


def redis_cases(job: str) -> AlertCases:
    """Return the cases of the alert on Redis."""
    up = f'svgx_engine_dependency_up{{job="{job}",dependency="redis"}}'
    return AlertCases(fires=({up: "1x5 0x15"},), quiet=({up: "1x5 0 1x15"},))


EDITS = 'svgx_engine_live_edits_total{job="svgx-gateway",outcome='
RESPONSES = 'svgx_engine_http_responses_total{job="svgx-gateway",status='
RELEASED = 'svgx_engine_collab_released_canvases_total{job="svgx-collab",reason='
RETENTION = 'svgx_engine_journal_retention_seconds{job="svgx-state"}'
OLDEST_DAY = 'svgx_engine_journal_oldest_day_seconds{job="svgx-state"}'
DISK_FULL = 'svgx_engine_database_full_seconds{job="svgx-state"}'
CERTIFICATE = "certmanager_certificate_expiration_timestamp_seconds{name="
SUCCESSFUL = 'kube_cronjob_status_last_successful_time{cronjob="svgx-backup"}'
CREATED = 'kube_cronjob_created{cronjob="svgx-backup"}'
STATE_ACTIVE = 'kube_job_status_active{job_name="svgx-state-backup-incremental-29385720"}'
RELOADS = 'svgx_engine_live_json_reloads_total{job="svgx-gateway",pod='
DELETED_OUTLINES = 'svgx_engine_journal_deleted_outlines_total{job="svgx-state"}'
GAP_AT = 'svgx_engine_journal_gap_timestamp_seconds{job="svgx-state"}'
QUARANTINED_AT = 'svgx_engine_journal_quarantined_timestamp_seconds{job="svgx-state"}'
STATE_CREATED = 'kube_cronjob_created{job="kube-state-metrics",cronjob="svgx-state-backup-full"}'
BACKED_UP = 'svgx_engine_backup_last_success_timestamp_seconds{job="svgx-state"}'
JOB_FAILED = 'kube_job_failed{condition="true",job_name='
BACKUPS = 'svgx_engine_backups_total{job="svgx-state",outcome='
FAILURES = 'svgx_engine_collab_commit_failures_total{job="svgx-collab",pod='
UNSAVED = 'svgx_engine_collab_oldest_unsaved_seconds{job="svgx-collab",pod='
COLLAB_UP = 'up{job="svgx-collab",service="svgx-collab",pod="svgx-collab-1"}'
RESERVED_UP = 'up{job="svgx-collab",service="svgx-collab-reserved",pod="svgx-collab-reserved-1"}'
BUSY = 'svgx_engine_collab_busy_canvases{job="svgx-collab",service="svgx-collab",pod='
HELD = 'svgx_engine_collab_held_canvases{job="svgx-collab",service="svgx-collab",pod='
BUSY_RESERVED = BUSY.replace('"svgx-collab",pod', '"svgx-collab-reserved",pod')
HELD_RESERVED = HELD.replace('"svgx-collab",pod', '"svgx-collab-reserved",pod')
LATE, SLOWLY_LATE = burn_cases(f'{EDITS}"late"}}', f'{EDITS}"saved"}}')
FAILED, SLOWLY_FAILED = burn_cases(f'{RESPONSES}"5xx"}}', f'{RESPONSES}"2xx"}}')

OWN_CASES: dict[str, dict[str, AlertCases]] = {
    "svgx-auth": {
        "SVGXEngineEventOutboxLag": outbox_cases("svgx-auth"),
        "SVGXEngineSuspiciousActivity": AlertCases(
            fires=({'svgx_engine_failed_logins_total{job="svgx-auth"}': "0+900x20"},),
            quiet=({'svgx_engine_failed_logins_total{job="svgx-auth"}': "0+60x20"},),
        ),
    },
    "svgx-gateway": {
        "SVGXEngineAuditEntriesLost": AlertCases(
            fires=({'svgx_engine_audit_entries_lost_total{job="svgx-gateway"}': "0x5 1x15"},),
            quiet=({'svgx_engine_audit_entries_lost_total{job="svgx-gateway"}': "3x20"},),
        ),
        "SVGXEngineJsonClientsReload": AlertCases(
            # One canvas has a reload every ten seconds, on one gateway, or first on one and then on another.
            fires=(
                {f'{RELOADS}"1"}}': "0+6x30", f'{RELOADS}"2"}}': "0x30"},
                {f'{RELOADS}"1"}}': "0+6x15 90x15", f'{RELOADS}"2"}}': "0x12 0+6x18"},
            ),
            quiet=(
                # Each gateway has an import with two reloads a minute.
                {f'{RELOADS}"1"}}': "0+2x30", f'{RELOADS}"2"}}': "0+2x30"},
                {f'{RELOADS}"1"}}': "0x15 0+6x15"},
                {f'{RELOADS}"1"}}': "0+6x10 60x20"},
            ),
            at="28m",
        ),
        "SVGXEngineRateLimitExceeded": AlertCases(
            fires=({'svgx_engine_rate_limit_hits_total{job="svgx-gateway"}': "0+6000x20"},),
            quiet=({'svgx_engine_rate_limit_hits_total{job="svgx-gateway"}': "0+600x20"},),
        ),
        "SVGXEngineRedisDown": redis_cases("svgx-gateway"),
        "SVGXEngineSavedBudgetBurnsFast": AlertCases(
            (*LATE.fires, {f'{EDITS}"failed"}}': "0+20x50", f'{EDITS}"saved"}}': "0+980x50"}),
            # Malformed edits are the client's fault.
            (
                *LATE.quiet,
                {f'{EDITS}"rejected"}}': "0+20x50", f'{EDITS}"saved"}}': "0+980x50"},
            ),
            LATE.at,
            LATE.step,
        ),
        "SVGXEngineSavedBudgetBurnsSlowly": SLOWLY_LATE,
        "SVGXEngineRequestBudgetBurnsFast": AlertCases(
            FAILED.fires,
            (
                *FAILED.quiet,
                {f'{RESPONSES}"4xx"}}': "0+200x50", f'{RESPONSES}"2xx"}}': "0+980x50"},
            ),
            FAILED.at,
            FAILED.step,
        ),
        "SVGXEngineRequestBudgetBurnsSlowly": SLOWLY_FAILED,
        # The tests begin at Unix time 0. The alert fires if the ingress certificate expires in less than 14 days.
        "SVGXEngineCertificateEnds": AlertCases(
            fires=({f'{CERTIFICATE}"svgx-tls"}}': f"{13 * 86400}x4"},),
            quiet=(
                {f'{CERTIFICATE}"svgx-tls"}}': f"{20 * 86400}x4"},
                {f'{CERTIFICATE}"another"}}': f"{13 * 86400}x4"},
            ),
            at="2h",
            step="30m",
        ),
    },
    "svgx-state": {
        "SVGXEngineJournalGap": AlertCases(
            fires=({GAP_AT: "0x9 540x11"}, {GAP_AT: "_x9 540x11"}),
            quiet=({GAP_AT: "-3600x20"},),
        ),
        "SVGXEngineJournalQuarantined": AlertCases(
            fires=({QUARANTINED_AT: "0x9 540x11"}, {QUARANTINED_AT: "_x9 540x11"}),
            quiet=({QUARANTINED_AT: "-3600x20"},),
        ),
        "SVGXEngineOutlineUnreadable": AlertCases(
            fires=({DELETED_OUTLINES: "0x5 1x15"}, {DELETED_OUTLINES: "_x9 1x11"}),
            quiet=({DELETED_OUTLINES: "1x20"}, {DELETED_OUTLINES: "_x9 0x11"}),
        ),
        "SVGXEngineJournalNotDropped": AlertCases(
            fires=({RETENTION: f"{30 * 86400}x9", OLDEST_DAY: f"{33 * 86400}x9"},),
            quiet=(
                {RETENTION: f"{30 * 86400}x9", OLDEST_DAY: f"{31 * 86400}x9"},
                {RETENTION: "0x9", OLDEST_DAY: f"{900 * 86400}x9"},
            ),
            at="90m",
            step="10m",
        ),
        "SVGXEngineDiskFills": AlertCases(
            fires=({DISK_FULL: f"{6 * 86400}x9"},),
            quiet=({DISK_FULL: f"{8 * 86400}x9"}, {DISK_FULL: f"{3650 * 86400}x7 0x2"}),
            at="90m",
            step="10m",
        ),
        "SVGXEngineEventOutboxLag": outbox_cases("svgx-state"),
        "SVGXEngineWebhookDeadLetters": AlertCases(
            fires=({'svgx_engine_webhook_dead_letters{job="svgx-state"}': "0x5 2x15"},),
            quiet=(
                {'svgx_engine_webhook_dead_letters{job="svgx-state"}': "0x20"},
                {'svgx_engine_webhook_dead_letters{job="svgx-state"}': "0x13 1 0x10"},
            ),
        ),
        "SVGXEngineRedisDown": redis_cases("svgx-state"),
        # The tests begin at Unix time 0, and check the alert after two days.
        "SVGXEngineBackupOld": AlertCases(
            fires=(
                {SUCCESSFUL: "3600x48"},
                {CREATED: "0x48"},
                # The database has a new backup, and the canvases have an old one.
                {SUCCESSFUL: f"{46 * 3600}x48", STATE_CREATED: "0x48", BACKED_UP: "3600x48"},
                # The CronJobs of the canvases never made a backup.
                {STATE_CREATED: "0x48", BACKED_UP: "0x48"},
            ),
            quiet=(
                {SUCCESSFUL: f"{30 * 3600}x48", CREATED: "0x48"},
                {CREATED: f"{30 * 3600}x48"},
                # Without backups of canvases, `BACKED_UP` is 0. Without a CronJob, the other metrics are missing.
                {BACKED_UP: "0x48"},
                {SUCCESSFUL.replace("svgx-backup", "other"): "3600x48"},
                {STATE_CREATED: "0x48", BACKED_UP: f"{40 * 3600}x48"},
                # The only backup of canvases was made over the API.
                {BACKED_UP: "3600x48"},
                {STATE_CREATED.replace("svgx-state", "other"): "0x48", BACKED_UP: "3600x48"},
                # The CronJobs are new, and their first backup is not due. An older backup was made over the API.
                {STATE_CREATED: f"{30 * 3600}x48", BACKED_UP: "0x48"},
                {STATE_CREATED: f"{30 * 3600}x48", BACKED_UP: "3600x48"},
                # The next backup takes some hours.
                {STATE_CREATED: "0x48", BACKED_UP: f"{21 * 3600}x48", STATE_ACTIVE: "0x45 1x3"},
                # No replica of state answers Prometheus, so the newest backup is not known.
                {STATE_CREATED: "0x48"},
            ),
            at="48h",
            step="1h",
        ),
        "SVGXEngineBackupFailed": AlertCases(
            fires=(
                {f'{JOB_FAILED}"svgx-backup-29385720"}}': "1x20"},
                {f'{JOB_FAILED}"svgx-state-backup-full-29385720"}}': "1x20"},
                {f'{BACKUPS}"failed"}}': "0x5 1x15"},
            ),
            quiet=(
                {f'{JOB_FAILED}"svgx-backup-29385720"}}': "0x20"},
                {f'{JOB_FAILED}"other-29385720"}}': "1x20"},
                {f'{BACKUPS}"failed"}}': "3x20", f'{BACKUPS}"complete"}}': "0+1x20"},
            ),
        ),
    },
    "svgx-collab": {
        # The service is down without other replicas, because a reserved replica opens no canvas by itself.
        "SVGXEngineServiceDown": AlertCases(
            fires=(
                {RESERVED_UP: "1x20"},
                {COLLAB_UP: "1x5 0x15", RESERVED_UP: "1x20"},
                {COLLAB_UP: "1x5 _x15", RESERVED_UP: "1x20"},
            ),
            quiet=({COLLAB_UP: "1x20", RESERVED_UP: "0x20"}, {COLLAB_UP: "1x20"}),
        ),
        "SVGXEnginePodDown": AlertCases(
            fires=(
                {COLLAB_UP: "1x5 0x15", RESERVED_UP: "1x20"},
                {COLLAB_UP: "1x20", RESERVED_UP: "1x5 0x15"},
            ),
            quiet=({COLLAB_UP: "1x20", RESERVED_UP: "1x20"},),
        ),
        "SVGXEngineCanvasBusy": AlertCases(
            fires=(
                {f'{BUSY}"1"}}': "1x20", f'{HELD}"1"}}': "3x20"},
                # One canvas after another is busy.
                {
                    f'{BUSY}"1"}}': "1x9 0x11",
                    f'{HELD}"1"}}': "3x20",
                    f'{BUSY}"2"}}': "0x9 1x11",
                    f'{HELD}"2"}}': "3x20",
                },
            ),
            quiet=(
                {f'{BUSY}"1"}}': "0x20", f'{HELD}"1"}}': "3x20"},
                {f'{BUSY}"1"}}': "0x6 1x14", f'{HELD}"1"}}': "3x20"},
                # The busy canvas is the only canvas of its replica.
                {f'{BUSY}"1"}}': "1x20", f'{HELD}"1"}}': "1x20", f'{HELD}"2"}}': "3x20"},
                {
                    f'{BUSY_RESERVED}"1"}}': "1x20",
                    f'{HELD_RESERVED}"1"}}': "2x20",
                    f'{BUSY}"1"}}': "0x20",
                    f'{HELD}"1"}}': "3x20",
                },
            ),
            at="18m",
        ),
        "SVGXEngineEditsNotSaved": AlertCases(
            fires=({f'{FAILURES}"1"}}': "0+1x20", f'{UNSAVED}"1"}}': "0x5 0+60x15"},),
            quiet=(
                {f'{FAILURES}"1"}}': "5x20", f'{UNSAVED}"1"}}': "0x20"},
                # Edits wait in a queue, and no commit fails.
                {f'{FAILURES}"1"}}': "5x20", f'{UNSAVED}"1"}}': "20x20"},
                # Commits fail again and again, and the repetitions succeed.
                {f'{FAILURES}"1"}}': "0+1x20", f'{UNSAVED}"1"}}': "0.1x20"},
                # The failures and the waiting edits are those of different replicas.
                {
                    f'{FAILURES}"1"}}': "0+1x20",
                    f'{UNSAVED}"1"}}': "0.1x20",
                    f'{FAILURES}"2"}}': "0x20",
                    f'{UNSAVED}"2"}}': "20x20",
                },
            ),
        ),
        "SVGXEngineRedisDown": redis_cases("svgx-collab"),
        "SVGXEngineJournalLag": AlertCases(
            fires=(
                {'svgx_engine_collab_oldest_unsaved_seconds{job="svgx-collab"}': "0x5 0+60x15"},
            ),
            quiet=(
                {'svgx_engine_collab_oldest_unsaved_seconds{job="svgx-collab"}': "0x14 30"},
                {'svgx_engine_collab_oldest_unsaved_seconds{job="svgx-collab"}': "2x20"},
            ),
        ),
        "SVGXEngineHolderChurn": AlertCases(
            fires=({f'{RELEASED}"lease_lost"}}': "0+3x20"}, {f'{RELEASED}"failed"}}': "0+3x20"}),
            quiet=(
                {f'{RELEASED}"handed_over"}}': "0+30x20", f'{RELEASED}"idle"}}': "0+30x20"},
                {f'{RELEASED}"lease_lost"}}': "0x5 5x15"},
            ),
        ),
    },
}


@dataclass(frozen=True, slots=True)
class OneEvent:
    """An alert that reads rates and is about a lasting state.

    Each dict of `once` is a case in which one event occurs after five minutes. `lasting` is the same fault for a long
    time, and `within_seconds` is the time from its beginning after which the alert must fire. The time between two
    samples is 30 seconds, as in the charts.
    """

    once: tuple[dict[str, str], ...]
    lasting: dict[str, str]
    within_seconds: int = 240


EVENTS: dict[str, dict[str, OneEvent]] = {
    "svgx-gateway": {
        "SVGXEngineJsonClientsReload": OneEvent(
            once=(
                # An import of a large file.
                {f'{RELOADS}"1"}}': "0x10 2x60"},
                # A rolling update of collab in ten minutes: each of 500 canvases has two reloads.
                {f'{RELOADS}"1"}}': "0x10 0+50x20 1000x40"},
            ),
            lasting={f'{RELOADS}"1"}}': "0x10 3+3x60"},
            within_seconds=1500,
        ),
    },
    "svgx-collab": {
        "SVGXEngineEditsNotSaved": OneEvent(
            once=(
                {f'{FAILURES}"1"}}': "0x10 1x60", f'{UNSAVED}"1"}}': "0x70"},
                # Commits are slow the whole time, and one of them fails.
                {f'{FAILURES}"1"}}': "0x10 1x60", f'{UNSAVED}"1"}}': "8x70"},
            ),
            lasting={f'{FAILURES}"1"}}': "0x10 8+8x60", f'{UNSAVED}"1"}}': "0x10 1+30x60"},
        ),
        "SVGXEngineHolderChurn": OneEvent(
            once=({f'{RELEASED}"lease_lost"}}': "0x10 50x60"},),
            lasting={f'{RELEASED}"lease_lost"}}': "0x10 1+1x60"},
            within_seconds=600,
        ),
    },
}
"""The cases of alerts that read rates and are about a lasting state, by service."""

ABOUT_THE_PAST = {
    **{
        f"SVGXEngine{each}": "the average of five minutes is too high"
        for each in ("HighErrorRate", "HighResponseTime", "SuspiciousActivity", "RateLimitExceeded")
    },
    "SVGXEngineJournalGap": "the canvas lacks entries also after the event",
    "SVGXEngineJournalQuarantined": "the row stays in the quarantine",
    "SVGXEngineOutlineUnreadable": "the disk may damage more rows after the event",
    "SVGXEngineAuditEntriesLost": "the log lacks the entries also after the event",
    "SVGXEngineBackupFailed": "the backup is missing until the next one succeeds",
    **{
        f"SVGXEngine{each}BudgetBurns{speed}": "the failures of hours or days use up the budget"
        for each in ("Saved", "Request")
        for speed in ("Fast", "Slowly")
    },
}
"""The reason why an alert may fire because of one event that is over."""


def rules_path(job: str) -> Path:
    """Return the file with the alerts of a service."""
    return values.HELM / job.removeprefix("svgx-") / "alerts.yaml"


def alerts(job: str) -> list[dict[str, Any]]:
    """Return the alerts of a service."""
    content = yaml.safe_load(rules_path(job).read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("job", JOBS)
def test_every_alert_has_cases_a_severity_and_a_runbook(job: str) -> None:
    """A new alert without a case fails this test. Proves R-OBS-13."""
    found = alerts(job)
    assert {each["alert"] for each in found} == (common_cases(job) | OWN_CASES[job]).keys()
    for each in found:
        assert each["labels"]["severity"] in ("warning", "critical")
        assert each["annotations"].keys() == {"summary", "description", "runbook_url"}


@pytest.mark.parametrize("job", JOBS)
def test_alerts_fire_on_their_conditions_only(job: str, tmp_path: Path) -> None:
    """Each alert fires in the cases of `fires`, and not in the cases of `quiet`. Proves R-OBS-13."""
    rules = yaml.safe_load(rules_path(job).read_text(encoding="utf-8"))
    files = [
        write_tests(
            only(rules, alert),
            [
                promtool_test(alert, series, cases.at, {"": int(fires)}, cases.step)
                for group, fires in ((cases.fires, True), (cases.quiet, False))
                for series in group
            ],
            tmp_path / alert,
        )
        for alert, cases in (common_cases(job) | OWN_CASES[job]).items()
    ]
    run_promtool("check", "rules", rules_path(job))
    run_promtool("test", "rules", *files)


@pytest.mark.parametrize("job", JOBS)
def test_every_alert_with_rates_has_a_case_with_one_event(job: str) -> None:
    """A new alert that reads a range of time fails this test without a case or a reason. Proves R-OBS-13."""
    with_range = {each["alert"] for each in alerts(job) if "[" in each["expr"]}
    assert with_range - ABOUT_THE_PAST.keys() == EVENTS.get(job, {}).keys()


@pytest.mark.parametrize("job", EVENTS)
def test_alert_about_a_lasting_state_fires_in_an_outage_and_not_after_one_event(
    job: str, tmp_path: Path
) -> None:
    """After one event, the alert is quiet for half an hour. In an outage, it fires in time. Proves R-OBS-13."""
    rules = yaml.safe_load(rules_path(job).read_text(encoding="utf-8"))
    files = []
    for alert, cases in EVENTS[job].items():
        tests = [ever_fires_test(alert, series, 0, "35m") for series in cases.once]
        end = f"{300 + cases.within_seconds}s"
        tests.append(ever_fires_test(alert, cases.lasting, 1, end))
        files.append(write_tests(only(rules, alert), tests, tmp_path / alert))
    run_promtool("test", "rules", *files)


@pytest.mark.parametrize("job", JOBS)
def test_alerts_of_a_release_watch_its_namespace_only(
    helms: dict[str, Helm], job: str, tmp_path: Path
) -> None:
    """Replicas in another namespace neither prevent nor cause the alerts of a release.

    Proves R-OBS-13.
    """
    service = job.removeprefix("svgx-")
    rules = rendered_rules(helms["helm4"], service)
    other, own = (f'up{{job="{job}",namespace="{each}"}}' for each in ("other", NAMESPACE))
    tests = [
        promtool_test("SVGXEngineServiceDown", {other: "1x20"}, "15m", {NAMESPACE: 1}),
        promtool_test("SVGXEngineServiceDown", {other: "0x20", own: "1x20"}, "15m", {"": 0}),
        promtool_test("SVGXEnginePodDown", {other: "0x20", own: "1x20"}, "15m", {"": 0}),
        promtool_test("SVGXEnginePodDown", {other: "1x20", own: "0x20"}, "15m", {NAMESPACE: 1}),
    ]
    run_promtool("test", "rules", write_tests(rules, tests, tmp_path / "rendered"))


def test_alert_of_a_certificate_watches_the_namespace_of_the_release(
    helms: dict[str, Helm], tmp_path: Path
) -> None:
    """The alert watches only the release's namespace, even if Prometheus renamed the label. Proves R-OBS-13."""
    ends = f"{13 * 86400}x4"
    own = f'{CERTIFICATE}"svgx-tls",namespace="{NAMESPACE}"}}'
    other = f'{CERTIFICATE}"svgx-tls",namespace="other"}}'
    own_renamed, other_renamed = (
        f'{CERTIFICATE}"svgx-tls",exported_namespace="{each}",namespace="{NAMESPACE}"}}'
        for each in (NAMESPACE, "other")
    )
    tests = [
        promtool_test("SVGXEngineCertificateEnds", {series: ends}, "2h", expected, "30m")
        for series, expected in (
            (own, {NAMESPACE: 1}),
            (own_renamed, {NAMESPACE: 1}),
            (other, {"": 0}),
            (other_renamed, {"": 0}),
        )
    ]
    rules = only(rendered_rules(helms["helm4"], "gateway"), "SVGXEngineCertificateEnds")
    run_promtool("test", "rules", write_tests(rules, tests, tmp_path / "rendered"))


@pytest.mark.parametrize("release", ["svgx", "draw"])
def test_alert_of_old_backups_watches_the_cron_jobs_of_its_release(
    helms: dict[str, Helm], release: str, tmp_path: Path
) -> None:
    """CronJobs of another release or namespace do not count as a schedule. Proves R-OBS-13."""
    rules = rendered_rules(helms["helm4"], "state", release=release)
    created = STATE_CREATED.removesuffix('"svgx-state-backup-full"}')
    gauge = f'{BACKED_UP.removesuffix("}")},namespace="{NAMESPACE}"}}'
    tests = [
        promtool_test(
            "SVGXEngineBackupOld",
            {
                f'{created}"{name}",namespace="{namespace}"}}': "0x48",
                gauge: "0x48",
            },
            "48h",
            expected,
            "1h",
        )
        for name, namespace, expected in (
            (f"{release}-state-backup-full", NAMESPACE, {NAMESPACE: 1}),
            (f"{release}-state-backup-incremental", NAMESPACE, {NAMESPACE: 1}),
            (f"{release}-state-backup-full", "other", {"": 0}),
            ("other-state-backup-full", NAMESPACE, {"": 0}),
        )
    ]
    alert = only(rules, "SVGXEngineBackupOld")
    run_promtool("test", "rules", write_tests(alert, tests, tmp_path / "rendered"))


@pytest.mark.parametrize(
    "addresses",
    [
        ("monitoring.alerts.runbookBaseUrl=https://wiki.example/",),
        ("global.runbookBaseUrl=https://wiki.example",),
        (
            "global.runbookBaseUrl=https://wiki.example/",
            "monitoring.alerts.runbookBaseUrl=https://other.example",
        ),
    ],
    ids=["own", "global", "global over own"],
)
def test_runbooks_and_certificate_follow_the_values(
    helms: dict[str, Helm], addresses: tuple[str, ...]
) -> None:
    """The alerts link to the runbooks at `runbookBaseUrl`, and watch the certificate of the ingress."""
    settings = (*addresses, "ingress.tls.secretName=mine")
    rules = rendered_rules(helms["helm4"], "gateway", *settings)
    (certificate,) = (
        each for each in rules["groups"][0]["rules"] if each["alert"] == "SVGXEngineCertificateEnds"
    )
    assert certificate["annotations"]["runbook_url"] == "https://wiki.example/certificate-ends"
    assert RUNBOOKS_URL not in yaml.safe_dump(rules)
    assert '{name="mine",' in certificate["expr"]


def rendered_rules(helm: Helm, service: str, *given: str, release: str = RELEASE) -> dict[str, Any]:
    """Return the rules of a service's chart with these values."""
    arguments = ["nats.url=nats://nats.example:4222", "monitoring.alerts.enabled=true", *given]
    settings = (part for each in arguments for part in ("--set", each))
    rendered = helm.template(service, *settings, release=release)
    (rule,) = (each for each in parse_objects(rendered) if each["kind"] == "PrometheusRule")
    spec: dict[str, Any] = rule["spec"]
    return spec


def only(rules: dict[str, Any], alert: str) -> dict[str, Any]:
    """Return the rules of one alert and of the recorded series that it reads. With all rules, tests would be slow."""
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    (wanted,) = (rule for rule in every if rule.get("alert") == alert)
    records = [rule for rule in every if "record" in rule and rule["record"] in wanted["expr"]]
    return {"groups": [{"name": alert, "rules": [*records, wanted]}]}


def promtool_test(
    alert: str, series: dict[str, str], at: str, expected: dict[str, int], step: str = "1m"
) -> dict[str, Any]:
    """Return a test in promtool's format: the number of firing alerts by namespace at the time `at`.

    The test reads the series `ALERTS`, because promtool's tests of alerts compare all labels and annotations.
    """
    alerts_firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    return {
        "interval": step,
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count by (namespace) ({alerts_firing}) or vector(0)"
                if "" in expected
                else f"count by (namespace) ({alerts_firing})",
                "eval_time": at,
                "exp_samples": [
                    {"labels": f'{{namespace="{name}"}}' if name else "{}", "value": value}
                    for name, value in expected.items()
                ],
            }
        ],
    }


def ever_fires_test(alert: str, series: dict[str, str], expected: int, end: str) -> dict[str, Any]:
    """Return a test in promtool's format: the number of series of the alert that fire at any time until `end`."""
    fired = f'count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[2h])'
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count({fired}) or vector(0)",
                "eval_time": end,
                "exp_samples": [{"labels": "{}", "value": expected}],
            }
        ],
    }
