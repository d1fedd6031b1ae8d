"""Checks of the variables that OpenTelemetry reads.

For some wrong values OpenTelemetry ends the process as it starts, with a traceback. Others it ignores, with a warning
that quotes them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_PREFIXES = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")

_FORMS: dict[str, tuple[str, str]] = {
    "ENDPOINT": (r"(?i)https?://[^\s/?#]+(/\S*)?", "must be a URL like http://collector:4318"),
    "HEADERS": (
        r"\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*=[^,\s;]*\s*(,\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+\s*=[^,\s;]*\s*)?)*",
        "must be like name=value,name=value, special characters as %XX",
    ),
    "TIMEOUT": (r"[0-9]+(\.[0-9]+)?", "must be a number of seconds"),
    "COMPRESSION": (r"none|gzip|deflate", "must be none, gzip or deflate"),
}
"""For each variable of the exporter, without its prefix, the form of its value and the message for any other value."""

_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")

_SAMPLERS = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)

_NUMBERS = (
    *("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT"),
    *("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
)


def mistakes(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each variable with a wrong value. The lines contain no values."""
    for prefix in _PREFIXES:
        for name, (form, message) in _FORMS.items():
            value = environ.get(prefix + name)
            if value and re.fullmatch(form, value.strip()) is None:
                yield f"{prefix}{name}: {message}"
        for name in _FILES:
            value = environ.get(prefix + name)
            if value and not Path(value).is_file():
                yield f"{prefix}{name}: must be the path of a file"
    for name in _NUMBERS:
        value = environ.get(name)
        if value and re.fullmatch(r"[1-9][0-9]{0,8}", value.strip()) is None:
            yield f"{name}: must be a whole number from 1 to 999999999"
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if sampler and sampler.lower() not in _SAMPLERS:
        yield f"OTEL_TRACES_SAMPLER: must be one of {', '.join(_SAMPLERS)}"
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if ratio and re.fullmatch(r"0|1|0?\.[0-9]+|[01]\.0*|0\.[0-9]*", ratio) is None:
        yield "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"
