"""The state service checks its settings, which come from the environment."""

import base64

import pytest
from pydantic import SecretStr

from svgx_common.doctor.findings import Status
from svgx_common.doctor.settings import check_settings
from svgx_common.settings import load
from svgx_state.commands.backup_key import check_backup_key
from svgx_state.commands.backup_target import check_backup_target
from svgx_state.settings import StateSettings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://localhost/svgx")


def refusal_of_the_start(capsys: pytest.CaptureFixture[str]) -> str:
    """Load settings that are wrong. Check the status, and return the line on standard error."""
    with pytest.raises(SystemExit, match="2"):
        load(StateSettings)
    return capsys.readouterr().err


def test_empty_variable_means_the_default_and_unknown_variables_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unknown variables are ignored, and an empty value means the default."""
    monkeypatch.setenv("COMPACT_AFTER_ENTRIES", "")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    assert load(StateSettings).compact_after_entries == 500


def test_wrong_value_stops_the_start_and_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong value ends the start with status 2 and a line that names the setting."""
    monkeypatch.setenv("WORKER_COUNT", "none")
    assert refusal_of_the_start(capsys).startswith("svgx: WORKER_COUNT: ")


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("BACKUP_URL", "/backups", "must begin with file://"),
        ("BACKUP_URL", "ftp://host/backups", "must begin with file://"),
        ("BACKUP_URL", "file://backups", "absolute path"),
        ("BACKUP_URL", "s3://", "must name a bucket"),
        ("BACKUP_URL", "s3://key:secret@bucket", "must not contain credentials"),
        ("BACKUP_URL", "gs://user@bucket", "must not contain credentials"),
        ("BACKUP_KEY", "secret", "32 bytes"),
        ("BACKUP_KEEP", "-1", "greater than or equal to 0"),
    ],
)
def test_wrong_setting_of_backups_stops_the_start_without_showing_its_value(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    reason: str,
) -> None:
    """The line names the setting and the reason, and no secret. Proves R-BACKUP-3."""
    monkeypatch.setenv(variable, value)
    line = refusal_of_the_start(capsys)
    assert line.startswith(f"svgx: {variable}: ")
    assert reason in line
    assert "secret" not in line


def test_folder_of_backups_may_have_an_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder has no credentials, and homes of some users have an @ in their paths. Proves R-BACKUP-3."""
    monkeypatch.setenv("BACKUP_URL", "file:///home/jane@corp.example/backups")
    assert load(StateSettings).backup_url.endswith("jane@corp.example/backups")


URL_REASON = "must be a URL"
REGION_REASON = "must be the name of a region"
CONTROL_REASON = "control characters"


@pytest.mark.parametrize(
    "case",
    [
        ("s3://bucket", "AWS_ENDPOINT", "nonsense", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "https:///path", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "localhost:9000", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "ftp://secret", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://[::1", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://a secret", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://localhost:99999", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://localhost:9000\n", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://u:secret@localhost", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://localhost/a b", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT", "http://localhost/?secret=1", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT_URL", "nonsense", URL_REASON),
        ("s3://bucket", "AWS_ENDPOINT_URL_S3", "nonsense", URL_REASON),
        ("s3://bucket", "AWS_REGION", "a secret", REGION_REASON),
        ("s3://bucket", "AWS_DEFAULT_REGION", "a/secret", REGION_REASON),
        ("s3://bucket", "AWS_ACCESS_KEY_ID", "secret\n", CONTROL_REASON),
        ("s3://bucket", "AWS_SECRET_ACCESS_KEY", "secret\n", CONTROL_REASON),
        ("s3://bucket", "AWS_SESSION_TOKEN", "secret\n", CONTROL_REASON),
        ("gs://bucket", "GOOGLE_BASE_URL", "nonsense", URL_REASON),
        ("az://container", "AZURE_STORAGE_ENDPOINT", "localhost:10000", URL_REASON),
        ("az://container", "AZURE_ENDPOINT", "file:///secret", URL_REASON),
        ("az://container", "AZURE_STORAGE_TOKEN", "secret\n", CONTROL_REASON),
    ],
)
def test_wrong_variable_of_the_target_stops_the_start_and_fails_in_doctor(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, str, str, str],
) -> None:
    """Proves R-BACKUP-3: the line names the variable of the object storage library, and no value."""
    backup_url, variable, value, reason = case
    monkeypatch.setenv("BACKUP_URL", backup_url)
    monkeypatch.setenv(variable, value)
    line = refusal_of_the_start(capsys)
    assert line.startswith(f"svgx: {variable}: ")
    assert reason in line
    assert "secret" not in line
    findings, values = check_settings(StateSettings)
    assert [(each.status, each.detail) for each in findings] == [
        (Status.FAILED, line.removeprefix("svgx: ").strip())
    ]
    assert values["backup_url"] == backup_url


@pytest.mark.parametrize(
    ("backup_url", "variable", "value"),
    [
        ("s3://bucket", "AWS_ENDPOINT", "http://localhost:9000"),
        ("s3://bucket", "AWS_ENDPOINT", "https://storage.example/base/"),
        ("s3://bucket", "AWS_ENDPOINT", "http://[::1]:9000"),
        ("s3://bucket", "AWS_ENDPOINT", "http://min_io:9000"),
        ("s3://bucket", "AWS_REGION", "eu-central-1"),
        ("s3://bucket", "AWS_REGION", ""),
        ("az://container", "AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0Cg=="),
        ("az://container", "AWS_ENDPOINT", "nonsense"),
        ("file:///backups", "AWS_ENDPOINT", "nonsense"),
        ("", "AWS_ENDPOINT", "nonsense"),
    ],
)
def test_usable_and_unused_variables_of_the_target_are_accepted(
    monkeypatch: pytest.MonkeyPatch, backup_url: str, variable: str, value: str
) -> None:
    """Proves R-BACKUP-3: only the variables of the target's own storage are checked."""
    monkeypatch.setenv("BACKUP_URL", backup_url)
    monkeypatch.setenv(variable, value)
    assert load(StateSettings).backup_url == backup_url


@pytest.mark.parametrize(
    ("url", "allow_http", "status"),
    [
        ("s3://bucket", "true", [Status.OK]),
        ("s3://bucket", "perhaps", [Status.FAILED]),
        ("s3://a bucket", "true", [Status.FAILED]),
        ("file:///nowhere/at/all", "true", []),
    ],
)
async def test_target_that_the_library_refuses_fails_in_doctor(
    monkeypatch: pytest.MonkeyPatch, url: str, allow_http: str, status: list[Status]
) -> None:
    """Proves R-BACKUP-3: `doctor` finds values with which the service does not start, and creates no folder."""
    monkeypatch.setenv("AWS_ALLOW_HTTP", allow_http)
    findings = await check_backup_target(url)
    assert [each.status for each in findings] == status


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ('{"session": {"backend": "redis", "ttl_seconds": 60}}', "needs the type general"),
        ('{"general": {"backend": "redis"}}', "needs ttl_seconds"),
        ('{"general": {"backend": "memory"}}', "needs ttl_seconds"),
        ('{"general": {"backend": "postgresql", "shared": true}}', "cannot be shared"),
        ('{"general": {"backend": "mysql"}}', "STATE_TYPES_general_backend: "),
        ('{"general": {"backend": "postgresql", "ttl": 5}}', "STATE_TYPES_general_ttl: "),
        ('{"general": {"backend": "postgresql", "ttl_seconds": 0}}', "greater than or equal to 1"),
        ('{"general": {"backend": "postgresql", "max_bytes": 1000000}}', "less than or equal to"),
        (
            '{"general": {"backend": "postgresql"}, "canvas": {"backend": "postgresql"}}',
            "canvas cannot be",
        ),
        ('{"general": {"backend": "postgresql"}, "A b": {"backend": "postgresql"}}', "pattern"),
        ("general=postgresql", "written as JSON"),
    ],
)
def test_wrong_state_types_stop_the_start(
    types: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-KV-12: wrong state types end the start with status 2 and the reason."""
    monkeypatch.setenv("STATE_TYPES", types)
    with pytest.raises(SystemExit, match="2"):
        load(StateSettings)
    error = capsys.readouterr().err
    assert error.startswith("svgx: STATE_TYPES")
    assert reason.lower() in error.lower()


def test_memory_backend_is_refused_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-KV-12: in production, no state type may have the backend `memory`."""
    types = '{"general": {"backend": "memory", "ttl_seconds": 60}}'
    monkeypatch.setenv("STATE_TYPES", types)
    assert load(StateSettings).state_types["general"].backend == "memory"
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(SystemExit, match="2"):
        load(StateSettings)
    assert "STATE_TYPES: general is in memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "key", "unprotected", "status"),
    [
        ("production", "", True, Status.WARNING),
        (" Production ", "", True, Status.WARNING),
        ("production", base64.b64encode(bytes(32)).decode(), False, Status.OK),
        ("development", "", False, Status.OK),
    ],
)
async def test_production_without_a_key_for_backups_is_a_warning(
    environment: str, key: str, unprotected: bool, status: Status
) -> None:
    """Encryption is optional, so the start and `doctor` only write a warning. Proves R-BACKUP-11."""
    settings = StateSettings.model_construct(
        environment=environment, backup_url="file:///backups", backup_key=SecretStr(key)
    )
    assert settings.backups_unprotected is unprotected
    (finding,) = await check_backup_key(
        {"environment": environment, "backup_key": SecretStr(key), "backup_url": "file:///backups"}
    )
    assert finding.status is status
