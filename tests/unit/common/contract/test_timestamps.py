"""Times in requests: the texts that are accepted, in a query and in a body."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter, ValidationError

from svgx_common.contract.operation import Timestamp

ADAPTER: TypeAdapter[datetime] = TypeAdapter(Timestamp)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31 12:00:00+00:00", NOON),
        ("2026-01-31T14:00:00+02:00", NOON),
        ("2026-01-31T12:00:00.25Z", NOON + timedelta(seconds=0.25)),
        ("2026-01-31T12:00:00.1234567891Z", NOON + timedelta(microseconds=123456)),
        ("2026-01-31T12:00:00-05:30", NOON.replace(tzinfo=timezone(-timedelta(hours=5.5)))),
    ],
)
def test_rfc_3339_text_is_read_in_a_query_and_in_a_body(
    text: str, time: datetime, strict: bool
) -> None:
    """A body is validated in strict mode, a query is not. Proves R-HTTP-16."""
    assert ADAPTER.validate_json(f'"{text}"', strict=strict) == time


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        *("1700000000", "true", '"1700000000"', '"2026-01-31"', '"2026-01-31T12:00:00"'),
        *('"2026-02-30T12:00:00Z"', '"2026-01-31T25:00:00Z"', '"2026-01-31T12:00:00+99:00"'),
        '"2026-01-31T12:00:00+05:60"',
        *('"1969-12-31T23:59:59Z"', '"3000-01-01T00:00:00Z"', '"now"', '""'),
    ],
)
def test_value_that_is_no_rfc_3339_time_within_the_bounds_is_refused(
    value: str, strict: bool
) -> None:
    """Numbers, dates, times without a zone and times outside of the bounds are refused. Proves R-HTTP-16."""
    with pytest.raises(ValidationError):
        ADAPTER.validate_json(value, strict=strict)
