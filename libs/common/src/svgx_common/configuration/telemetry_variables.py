"""Checks of the variables that OpenTelemetry reads.

Some wrong values stop the service with a traceback while it starts. Some make each export fail. OpenTelemetry ignores
the other wrong values, and logs a warning that quotes them. While nothing is exported, no value counts as wrong,
because OpenTelemetry then reads none of these variables.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_PREFIXES = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")
"""The prefixes of the exporter's variables. The exporter uses the first variable that has a value."""

_ENDPOINT = re.compile(r"(?i)https?://[^\s/?#]+([/?#]\S*)?")

_HEADER = re.compile(
    r"\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*=[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*\s*"
)
"""A header as OpenTelemetry reads it: a value may have spaces and `=`."""

_COMPRESSIONS = ("none", "gzip", "deflate")

_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")

_RATIOS = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = (
    *("always_on", "always_off", "parentbased_always_on", "parentbased_always_off"),
    *_RATIOS,
)

QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"
BATCH_SIZE = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_POSITIVE = ("OTEL_BSP_SCHEDULE_DELAY", QUEUE_SIZE, BATCH_SIZE)
_NUMBERS = (*_POSITIVE, "OTEL_BSP_EXPORT_TIMEOUT")


def exporting(environ: Mapping[str, str]) -> bool:
    """Return whether spans are exported: there is an endpoint, and neither OpenTelemetry nor sampling is off.

    With a sampling ratio of 0, nothing is recorded, even if a client sends a sampled `traceparent`.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or _samples_nothing(environ):
        return False
    return any(environ.get(f"{prefix}ENDPOINT") for prefix in _PREFIXES)


def records_roots(environ: Mapping[str, str]) -> bool:
    """Return whether traces that begin in this process, and not in a client, may be recorded."""
    return _sampler(environ) not in ("always_off", "parentbased_always_off")


def _samples_nothing(environ: Mapping[str, str]) -> bool:
    sampler = _sampler(environ)
    if sampler in _RATIOS:
        return _number(environ.get("OTEL_TRACES_SAMPLER_ARG", "")) == 0
    return sampler == "always_off"


def _sampler(environ: Mapping[str, str]) -> str:
    return environ.get("OTEL_TRACES_SAMPLER", "").lower()


def mistakes(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each value that makes the start or every export fail. The lines contain no values."""
    if not exporting(environ):
        return
    name, value = _of_exporter(environ, "ENDPOINT")
    if _ENDPOINT.fullmatch(value.strip()) is None:
        yield f"{name}: must be a URL like http://collector:4318"
    for kind in _FILES:
        name, value = _of_exporter(environ, kind)
        if value and not Path(value).exists():
            yield f"{name}: must be the path of a file"
    for name in _POSITIVE:
        number = _whole_number(environ.get(name, ""))
        if number is not None and number < 1:
            yield f"{name}: must be a whole number, and at least 1"
    queue, batch = (_whole_number(environ.get(name, "")) for name in (QUEUE_SIZE, BATCH_SIZE))
    if queue is not None and batch is not None and batch > queue:
        yield f"{BATCH_SIZE}: must be at most {QUEUE_SIZE}"


def ignored(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each variable with a value that OpenTelemetry ignores, and a text about the valid values."""
    if not exporting(environ):
        return
    name, value = _of_exporter(environ, "HEADERS")
    if not all(_HEADER.fullmatch(header) for header in value.split(",") if header.strip()):
        yield name, "must be like name=value,name=value, with special characters as %XX"
    name, value = _of_exporter(environ, "TIMEOUT")
    if value and not _number(value) > 0:
        yield name, "must be a number of seconds"
    name, value = _of_exporter(environ, "COMPRESSION")
    if value and value.strip().lower() not in _COMPRESSIONS:
        yield name, f"must be one of {', '.join(_COMPRESSIONS)}"
    for name in _NUMBERS:
        if environ.get(name) and _whole_number(environ[name]) is None:
            yield name, "must be a whole number"
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").lower()
    if sampler and sampler not in _SAMPLERS:
        yield "OTEL_TRACES_SAMPLER", f"must be one of {', '.join(_SAMPLERS)}"
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG", "")
    if ratio and sampler in _RATIOS and not 0 <= _number(ratio) <= 1:
        yield "OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1"


def _of_exporter(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the name and the value of the variable that the exporter uses; the value is empty if none is set."""
    for prefix in _PREFIXES:
        if value := environ.get(prefix + name):
            return prefix + name, value
    return _PREFIXES[-1] + name, ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
