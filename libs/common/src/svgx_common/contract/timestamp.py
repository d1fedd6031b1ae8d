"""Times in requests."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def _written_out(value: Any) -> Any:
    """Else pydantic takes a number for Unix seconds, or milliseconds when it is large, and a day for its midnight."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise ValueError("must be a time like 2026-01-31T12:00:00Z (RFC 3339)")


Timestamp = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC)),
    BeforeValidator(_written_out),
]
"""A time with its zone. The bounds are far from those of Python and PostgreSQL, which differ."""
